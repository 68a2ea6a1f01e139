"""Homogeneous mixture of LoRAs: y = W x + s sum_e softmax(R x)_e B_e A_e x on every adapted layer (MoLoRA).

Zadouri et al. 2023, arXiv 2309.05444, section 3.2: soft merging of equal experts, one linear router a layer. The
control of MoA: the same idea with experts of one kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftConfig
from peft.utils import PeftType
from torch import nn

from harness.errors import UserError
from methods.tuners.layers import LinearLayer, Unmergeable, WrappingTuner, kaiming
from methods.tuners.registration import register


@dataclass
class MoeLoraConfig(PeftConfig):
    """`experts` LoRAs of rank `r` on every layer."""

    r: int = 8
    alpha: float = 8.0
    experts: int = 8
    target_modules: Any = None
    exclude_modules: Any = None
    layers_to_transform: Any = None
    layers_pattern: Any = None
    bias: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType("MOE_LORA")
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)


class MoeLoraLayer(Unmergeable, LinearLayer):
    """The experts of one linear layer."""

    why_unmergeable = "its gates depend on the input, so no weight can hold them"
    adapter_layer_names = ("moe_down", "moe_up", "moe_router")
    other_param_names = ("scaling",)

    def create(self, adapter_name: str, config: MoeLoraConfig, key: str) -> None:
        """A [experts, r, inputs] is drawn, B [experts, outputs, r] zero, the router [experts, inputs] drawn."""
        if config.r > min(self.in_features, self.out_features):
            room = min(self.in_features, self.out_features)
            raise UserError(f"moe-lora: rank {config.r} is above the dimension of layer {key!r}: 1 to {room} do.")
        down = torch.stack([kaiming(torch.empty(config.r, self.in_features)) for _ in range(config.experts)])
        self.moe_down[adapter_name] = nn.Parameter(down)
        self.moe_up[adapter_name] = nn.Parameter(torch.zeros(config.experts, self.out_features, config.r))
        self.moe_router[adapter_name] = nn.Parameter(kaiming(torch.empty(config.experts, self.in_features)))
        self.scaling[adapter_name] = config.alpha / config.r

    def added(self, inputs: torch.Tensor, adapter_name: str) -> torch.Tensor:
        """s sum_e softmax(R x)_e B_e A_e x, as one product of the experts side by side."""
        down, up = self.moe_down[adapter_name], self.moe_up[adapter_name]
        experts, rank, _ = down.shape
        gates = torch.softmax(inputs @ self.moe_router[adapter_name].T, -1) * self.scaling[adapter_name]
        inner = (inputs @ down.flatten(0, 1).T).unflatten(-1, (experts, rank)) * gates[..., None]
        return inner.flatten(-2) @ up.transpose(1, 2).flatten(0, 1)


class MoeLoraModel(WrappingTuner):
    """PEFT's model of the type MOE_LORA."""

    prefix = "moe_"
    tuner_layer_cls = MoeLoraLayer


register("moe_lora", MoeLoraConfig, MoeLoraModel, "moe_")
