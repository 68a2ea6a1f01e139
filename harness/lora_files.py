"""A LoRA adapter as what it is: for every module an update scale * up @ down, read from and written to PEFT's files.

Whatever convention the files use (alpha / r, rsLoRA's alpha / sqrt(r), rank and alpha patterns), reading gives the
scale itself; writing finds the alpha that gives the wanted scale. What is no plain low-rank update (DoRA's magnitudes,
a changed base, trained biases, convolutions) is refused by the module's name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.adapters import adapter_config
from harness.errors import UserError

if TYPE_CHECKING:
    import torch

_ROOT = "base_model.model."
_CHANGES_THE_BASE = ("pissa", "olora", "corda", "lora_ga", "loftq")


@dataclass(frozen=True)
class LowRank:
    """The update of one module: scale * up [outputs, rank] @ down [rank, inputs]."""

    up: torch.Tensor
    down: torch.Tensor
    scale: float

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])

    def dense(self) -> torch.Tensor:
        """The update [outputs, inputs], in float64: for checks and for merging into weights."""
        return self.scale * (self.up.double() @ self.down.double())


@dataclass(frozen=True)
class LoraAdapter:
    """A whole adapter: its modules by name, and PEFT's configuration for all that is not rank or scale."""

    modules: Mapping[str, LowRank]
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> str | None:
        """The base model that the adapter was made for, as its configuration says."""
        return self.config.get("base_model_name_or_path")

    @classmethod
    def read(cls, folder: Path) -> LoraAdapter:
        """The adapter of a PEFT directory; UserError if it is no plain LoRA."""
        from safetensors.torch import load_file

        config = adapter_config(folder)
        if config.get("peft_type") != "LORA":
            kind = config.get("peft_type")
            raise UserError(f"{folder} is a {kind} adapter, not LORA: only low-rank updates can be used.")
        if config.get("use_dora"):
            raise UserError(f"{folder} is a DoRA: its magnitudes are no low-rank update (merge it into its base).")
        start = str(config.get("init_lora_weights", "")).lower()
        if start.startswith(_CHANGES_THE_BASE):
            raise UserError(f"{folder} began with {start}, which changed its base: convert it to LoRA first (PEFT).")
        file = folder / "adapter_model.safetensors"
        if not file.exists():
            raise UserError(f"{folder} has no adapter_model.safetensors.")
        return cls(_modules(load_file(file), config, str(folder)), config)

    @classmethod
    def of(cls, model: Any) -> LoraAdapter:
        """The adapter of a PEFT model whose layers know their low-rank form: LoRA and what is exactly one."""
        found = {}
        name = model.active_adapter
        for path, layer in model.base_model.model.named_modules():
            if hasattr(layer, "lora_factors"):
                up, down, scale = layer.lora_factors(name)
            elif name in getattr(layer, "lora_A", {}) and type(layer.lora_A[name]).__name__ == "Linear":
                if getattr(layer, "lora_magnitude_vector", None) and name in layer.lora_magnitude_vector:
                    raise UserError(f"Layer {path!r} has a magnitude (DoRA), so its update is not low-rank.")
                up, down, scale = layer.lora_B[name].weight, layer.lora_A[name].weight, layer.scaling[name]
            else:
                continue
            found[path] = LowRank(up.detach().cpu(), down.detach().cpu(), float(scale))
        if not found:
            kind = model.active_peft_config.peft_type.value
            raise UserError(f"A {kind} adapter is no sum of low-rank updates, so it has no form as LoRA.")
        config = model.active_peft_config
        known = {"base_model_name_or_path": config.base_model_name_or_path, "task_type": "CAUSAL_LM"}
        return cls(found, known | {"use_rslora": bool(getattr(config, "use_rslora", False))})

    def write(self, folder: Path) -> None:
        """Write the adapter as PEFT would, with the alphas that give the scales."""
        from safetensors.torch import save_file

        rslora = bool(self.config.get("use_rslora"))
        ranks = {name: module.rank for name, module in self.modules.items()}
        alphas = {
            name: module.scale * (math.sqrt(module.rank) if rslora else module.rank)
            for name, module in self.modules.items()
        }
        rank, alpha = _commonest(ranks.values()), _commonest(alphas.values())
        config = _plain_config() | {
            "base_model_name_or_path": self.base,
            "task_type": self.config.get("task_type", "CAUSAL_LM"),
            "use_rslora": rslora,
            "fan_in_fan_out": bool(self.config.get("fan_in_fan_out")),
            "r": rank,
            "lora_alpha": alpha,
            "rank_pattern": {name: one for name, one in ranks.items() if one != rank},
            "alpha_pattern": {name: one for name, one in alphas.items() if one != alpha},
            "target_modules": sorted(self.modules),
        }
        tensors: dict[str, torch.Tensor] = {}
        for name, module in self.modules.items():
            tensors[f"{_ROOT}{name}.lora_A.weight"] = module.down.contiguous()
            tensors[f"{_ROOT}{name}.lora_B.weight"] = module.up.contiguous()
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _modules(tensors: dict[str, torch.Tensor], config: dict[str, Any], where: str) -> dict[str, LowRank]:
    found = {}
    for key, down in tensors.items():
        if ".lora_B." in key:
            continue
        name = key.removeprefix(_ROOT).removesuffix(".lora_A.weight")
        if not key.endswith(".lora_A.weight") or down.ndim != 2:
            raise UserError(f"{where}: {key!r} is no low-rank factor of a linear layer.")
        up = tensors[f"{key.removesuffix('.lora_A.weight')}.lora_B.weight"]
        rank = down.shape[0]
        alpha = _by_pattern(config.get("alpha_pattern") or {}, name, config.get("lora_alpha", rank))
        found[name] = LowRank(up, down, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))
    return found


def _by_pattern(pattern: dict[str, float], name: str, otherwise: float) -> float:
    from peft.utils.other import get_pattern_key

    return pattern.get(get_pattern_key(list(pattern), name), otherwise)


def _plain_config() -> dict[str, Any]:
    from peft import LoraConfig

    given = LoraConfig(inference_mode=True).to_dict()
    plain = (bool, int, float, str, dict, type(None))
    return {key: value for key, value in given.items() if isinstance(value, plain)}


def _commonest(values: Any) -> Any:
    counted: dict[Any, int] = {}
    for value in values:
        counted[value] = counted.get(value, 0) + 1
    return max(counted, key=lambda value: counted[value])
