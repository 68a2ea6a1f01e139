"""MoLE: trained LoRAs, frozen, mixed by a gate a layer: y = W x + sum_i softmax(R x)_i s_i B_i A_i x.

Wu et al. 2024, arXiv 2404.13628, section 3.2, with one linear router a layer that reads the layer's input. Only routers
are trained. A router that is zero gives every LoRA the same weight, so the start is their mean; whatever ranks the
LoRAs have, their factors lie side by side and are computed as one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftConfig
from peft.utils import PeftType
from torch import nn

from methods.tuners.layers import LinearLayer, Unmergeable, WrappingTuner
from methods.tuners.registration import register


@dataclass
class MoleConfig(PeftConfig):
    """`ranks` holds the rank of every LoRA (0 where it does not have the layer) by the name of the layer."""

    ranks: dict[str, list[int]] = field(default_factory=dict)
    target_modules: Any = None
    exclude_modules: Any = None
    layers_to_transform: Any = None
    layers_pattern: Any = None
    bias: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType("MOLE")
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)


class MoleLayer(Unmergeable, LinearLayer):
    """The gated LoRAs of one linear layer."""

    why_unmergeable = "its gates depend on the input, so no weight can hold them"
    adapter_layer_names = ("mole_router", "mole_down", "mole_up")
    other_param_names = ("ranks",)

    def create(self, adapter_name: str, config: MoleConfig, key: str) -> None:
        """Router [loras, inputs], A side by side [sum of ranks, inputs], s B side by side [outputs, sum of ranks]."""
        if not hasattr(self, "ranks"):
            self.ranks: dict[str, list[int]] = {}
            self.frozen_peft_weight_names = {}
        ranks = config.ranks[key]
        self.ranks[adapter_name] = ranks
        self.frozen_peft_weight_names[adapter_name] = ("mole_down", "mole_up")
        self.mole_router[adapter_name] = nn.Parameter(torch.zeros(len(ranks), self.in_features))
        self.mole_down[adapter_name] = nn.Parameter(torch.zeros(sum(ranks), self.in_features), requires_grad=False)
        self.mole_up[adapter_name] = nn.Parameter(torch.zeros(self.out_features, sum(ranks)), requires_grad=False)

    def added(self, inputs: torch.Tensor, adapter_name: str) -> torch.Tensor:
        """sum_i softmax(R x)_i s_i B_i A_i x."""
        gates = torch.softmax(inputs @ self.mole_router[adapter_name].T, -1)
        ranks = torch.tensor(self.ranks[adapter_name], device=inputs.device)
        weight = gates.repeat_interleave(ranks, -1)
        return (inputs @ self.mole_down[adapter_name].T * weight) @ self.mole_up[adapter_name].T


class MoleModel(WrappingTuner):
    """PEFT's model of the type MOLE."""

    prefix = "mole_"
    tuner_layer_cls = MoleLayer


register("mole", MoleConfig, MoleModel, "mole_")
