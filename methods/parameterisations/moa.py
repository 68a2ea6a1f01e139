"""MoA: a mixture of LoRA, parallel adapter and prompt experts in every block, and its homogeneous control.

arXiv 2506.05928, section 3. Settings of the published scripts: LoRA of rank 8 and alpha 8, a bottleneck of 16, 10
prompt vectors, a router with 4 inner units an expert. They train at 7.5e-4 (LLaMA) or 1e-4 (the port to others): 10
times full fine-tuning's rate lies between. `moa` mixes softly; `moa-sparse` leaves experts out below a threshold and
has no prompt expert; `moe-lora` mixes LoRAs only (arXiv 2309.05444). The tuners are `methods.tuners.moa` and
`methods.tuners.moe_lora`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.parts import Factor, parameterisation
from methods.parameterisations.lora import TENFOLD
from methods.parameterisations.tuner import Tuner
from methods.settings import LoraAlpha, Rank, Targets

Width = Annotated[int, Field(ge=1), "bottleneck of the parallel adapter"]
PromptTokens = Annotated[int, Field(ge=0), "prompt vectors a block; 0 leaves that expert out"]
RouterWidth = Annotated[int, Field(ge=0), "inner units of the router an expert; 0 makes it linear"]
Threshold = Annotated[
    Literal["released", "subtract", "straight-through"],
    "released: as published, without a gradient; subtract: weight (g - threshold)+; straight-through",
]
LargestThreshold = Annotated[float, Field(gt=0, le=1), "the highest that a token's threshold can be"]
Experts = Annotated[int, Field(ge=2), "LoRA experts a layer"]
_SOURCE = "arXiv 2506.05928, section 3"
_SCALES = TENFOLD | {"learning-rate": Factor(10.0, "arXiv 2506.05928, scripts: 1e-4 to 7.5e-4, as LoRA's")}


@dataclass(frozen=True)
class Mixed(Tuner):
    """A tuner of our own, registered with PEFT when it is used."""

    module: str = ""
    recomputes: ClassVar[bool] = False
    """What its layers add depends on gates that are known only while their block runs forward the first time."""

    def configuration(self, model: Any) -> Any:
        importlib.import_module(self.module)
        return super().configuration(model)


def _mixture(name: str, shown: dict[str, Any], fields: dict[str, Any], rank: int) -> Tuner:
    return Mixed(
        name=name,
        peft_type="MOA",
        fields=fields,
        shown=shown,
        mergeable=False,
        targets=None,
        largest_rank=rank,
        module="methods.tuners.moa",
    )


@parameterisation("moa", version=1, source=_SOURCE, scales=_SCALES, tuner="methods.tuners.moa")
def moa(
    rank: Rank = 8,
    alpha: LoraAlpha = 8.0,
    width: Width = 16,
    prompt_tokens: PromptTokens = 10,
    router_width: RouterWidth = 4,
) -> Tuner:
    """Soft mixture of LoRA, parallel adapter and prompt experts."""
    shown = {"rank": rank, "alpha": alpha, "width": width, "prompt_tokens": prompt_tokens, "router_width": router_width}
    fields = {key: value for key, value in shown.items() if key != "rank"} | {"r": rank}
    return _mixture("moa", shown, fields, rank)


@parameterisation("moa-sparse", version=1, source=_SOURCE, scales=_SCALES, tuner="methods.tuners.moa")
def moa_sparse(
    rank: Rank = 8,
    alpha: LoraAlpha = 8.0,
    width: Width = 16,
    router_width: RouterWidth = 4,
    threshold: Threshold = "released",
    largest_threshold: LargestThreshold = 0.5,
) -> Tuner:
    """Mixture of LoRA and parallel adapter experts that leaves out those below a threshold."""
    shown = {
        "rank": rank, "alpha": alpha, "width": width, "router_width": router_width, "threshold": threshold,
        "largest_threshold": largest_threshold,
    }  # fmt: skip
    fields = {key: value for key, value in shown.items() if key != "rank"} | {"r": rank, "sparse": True}
    return _mixture("moa-sparse", shown, fields, rank)


@parameterisation(
    "moe-lora",
    version=1,
    source="Zadouri et al. 2023, arXiv 2309.05444, section 3.2",
    scales=TENFOLD,
    tuner="methods.tuners.moe_lora",
)
def moe_lora(rank: Rank = 8, alpha: LoraAlpha = 8.0, experts: Experts = 8, targets: Targets = "all-linear") -> Tuner:
    """Soft mixture of equal LoRA experts on every layer: MoA's homogeneous control."""
    return Mixed(
        name="moe-lora",
        peft_type="MOE_LORA",
        fields={"r": rank, "alpha": alpha, "experts": experts},
        shown={"rank": rank, "alpha": alpha, "experts": experts, "targets": targets},
        mergeable=False,
        targets=targets,
        largest_rank=rank,
        count=lambda outputs, inputs, hidden: experts * (rank * (outputs + inputs) + inputs),
        module="methods.tuners.moe_lora",
    )
