"""The adapters that a generator has written for several texts: low-rank factors by module, text by text.

One `scale` is the only place that says how much of up @ down is added; side paths and PEFT files both take it from
here (a wrong exported scale destroys an adapter). Texts may have different ranks (a document of more chunks has more):
factors are zero-padded to the largest, which has no effect, and `ranks` says how many rows of each text count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from harness.engines.layout import LowRank
from harness.lora_files import LoraAdapter
from harness.lora_files import LowRank as FileLowRank

if TYPE_CHECKING:
    from harness.engines.side_path import Members


@dataclass(frozen=True)
class GeneratedAdapters:
    """For every module and text: scale * up [outputs, rank] @ down [rank, inputs]."""

    down: Mapping[str, torch.Tensor]
    """By module name, [texts, rank, inputs]."""
    up: Mapping[str, torch.Tensor]
    """By module name, [texts, outputs, rank]."""
    scale: float
    ranks: tuple[int, ...]
    """Rows of each text's factors that are not padding."""
    rslora: bool = False
    """Which convention the files use: lora_alpha = scale * sqrt(rank), or scale * rank."""
    opened: torch.Tensor | None = None
    """How far each text's parts were written, from 0 to 1, their mean [texts], where a generator learns that."""

    def __len__(self) -> int:
        return len(self.ranks)

    def members(self, dtype: torch.dtype) -> Members:
        """As members of one batch (`harness.engines.side_path`), one a text, in the base's type."""
        return {
            f"{name}.weight": LowRank(self.down[name].to(dtype), (self.scale * self.up[name]).to(dtype))
            for name in self.down
        }

    def adapter(self, place: int, base: str | None) -> LoraAdapter:
        """The adapter of one text as PEFT writes it, for the model `base`."""
        rank = self.ranks[place]
        modules = {
            name: FileLowRank(_alone(self.up[name][place, :, :rank]), _alone(self.down[name][place, :rank]), self.scale)
            for name in self.down
        }
        config: dict[str, Any] = {"base_model_name_or_path": base, "task_type": "CAUSAL_LM", "use_rslora": self.rslora}
        return LoraAdapter(modules, config)


def _alone(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().float().cpu().contiguous().clone()
