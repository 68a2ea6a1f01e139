"""Kron-LoRA: W + s (A kron B1 B2), the right factor low-rank, never built (Shen 2025, arXiv 2508.01961, section 3).

A is [a2, a1], B1 [b2, r], B2 [r, b1] with a1 b1 = inputs and a2 b2 = outputs, s = alpha / r. An input row is read as
X [a1, b1]; the output is A (X B2^T) B1^T as [a2, b2], flattened: 2 r (inputs + a1 a2 + outputs) operations a token.
A and B2 are drawn (Kaiming), B1 is zero, so the start is the base model. The update has rank a1 r at most, and is
exactly a LoRA of that rank: (A kron B1) (I kron B2).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftConfig
from peft.utils import PeftType
from torch import nn

from harness.errors import UserError
from methods.tuners.layers import LinearLayer, WrappingTuner, kaiming
from methods.tuners.registration import register

SLICE = 200
"""Outputs a block of the hidden size should have: the paper's ablation (section 5)."""


@dataclass
class KronLoraConfig(PeftConfig):
    """`inner` is a1, `outer` a2; `outer` left out is chosen once a model, `factors` records every layer's (a1, a2)."""

    r: int = 8
    alpha: float = 32.0
    inner: int = 2
    outer: int | None = None
    target_modules: Any = None
    exclude_modules: Any = None
    layers_to_transform: Any = None
    layers_pattern: Any = None
    bias: str = "none"
    factors: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType("KRON_LORA")
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)


class KronLoraLayer(LinearLayer):
    """The Kronecker adapter of one linear layer."""

    adapter_layer_names = ("kron_left", "kron_up", "kron_down")
    other_param_names = ("scaling",)

    def create(self, adapter_name: str, config: KronLoraConfig, key: str) -> None:
        """Draw A [a2, a1] and B2 [r, b1]; B1 [b2, r] is zero."""
        inner, outer = config.factors.get(key) or factors(
            key, self.out_features, self.in_features, config.inner, config.outer
        )
        config.factors[key] = [inner, outer]
        check_rank(key, config.r, self.out_features // outer, self.in_features // inner)
        self.kron_left[adapter_name] = nn.Parameter(kaiming(torch.empty(outer, inner)))
        self.kron_down[adapter_name] = nn.Parameter(kaiming(torch.empty(config.r, self.in_features // inner)))
        self.kron_up[adapter_name] = nn.Parameter(torch.zeros(self.out_features // outer, config.r))
        self.scaling[adapter_name] = config.alpha / config.r

    def added(self, inputs: torch.Tensor, adapter_name: str) -> torch.Tensor:
        """s A (X B2^T) B1^T, flattened."""
        left, up, down = self.kron_left[adapter_name], self.kron_up[adapter_name], self.kron_down[adapter_name]
        rows = inputs.reshape(-1, left.shape[1], down.shape[1])
        inner = torch.matmul(left * self.scaling[adapter_name], rows @ down.T)
        return (inner @ up.T).reshape(*inputs.shape[:-1], self.out_features)

    def get_delta_weight(self, adapter_name: str) -> torch.Tensor:
        """s (A kron B1 B2), dense."""
        right = self.kron_up[adapter_name].float() @ self.kron_down[adapter_name].float()
        return self.scaling[adapter_name] * torch.kron(self.kron_left[adapter_name].float(), right.contiguous())

    def lora_factors(self, adapter_name: str) -> tuple[torch.Tensor, torch.Tensor, float]:
        """(up [outputs, a1 r], down [a1 r, inputs], scale): the same update as a LoRA, exactly."""
        left, down = self.kron_left[adapter_name], self.kron_down[adapter_name]
        identity = torch.eye(left.shape[1], dtype=down.dtype, device=down.device)
        up = torch.kron(left.contiguous(), self.kron_up[adapter_name].contiguous())
        return up, torch.kron(identity, down.contiguous()), self.scaling[adapter_name]


class KronLoraModel(WrappingTuner):
    """PEFT's model of the type KRON_LORA."""

    prefix = "kron_"
    tuner_layer_cls = KronLoraLayer

    def _prepare_model(self, peft_config: KronLoraConfig, model: nn.Module) -> None:
        """Choose a2 once for the model, from its hidden size."""
        if peft_config.outer is None and not peft_config.factors:
            self._outer = nearest_divisor(int(model.config.hidden_size))  # type: ignore[union-attr, arg-type]

    def _create_and_replace(self, config: Any, adapter_name: str, target: Any, *args: Any, **kwargs: Any) -> None:
        key = kwargs.get("current_key") or args[2]
        if config.outer is None and key not in config.factors and isinstance(target, (nn.Linear, LinearLayer)):
            config.factors[key] = [
                largest_divisor(target.in_features, config.inner), largest_divisor(target.out_features, self._outer),
            ]  # fmt: skip
        super()._create_and_replace(config, adapter_name, target, *args, **kwargs)


def factors(key: str, outputs: int, inputs: int, inner: int, outer: int | None) -> tuple[int, int]:
    """(a1, a2) as asked for; UserError with the layer's name and what divides it where they do not."""
    for name, size, divisor in (("inner", inputs, inner), ("outer", outputs, outer or 1)):
        if size % divisor:
            side = "inputs" if name == "inner" else "outputs"
            raise UserError(
                f"kron-lora: {name}={divisor} does not divide the {size} {side} of layer {key!r}; "
                f"possible are {', '.join(map(str, divisors(size)))}."
            )
    return inner, outer or 1


def check_rank(key: str, rank: int, outputs: int, inputs: int) -> None:
    """UserError if the right factor [outputs, inputs] of a layer has no such rank."""
    if rank > min(outputs, inputs):
        raise UserError(
            f"kron-lora: rank {rank} is above the right factor of layer {key!r} ({outputs} x {inputs}); "
            f"possible are 1 to {min(outputs, inputs)}."
        )


def divisors(size: int) -> list[int]:
    return [one for one in range(1, size + 1) if size % one == 0]


def largest_divisor(size: int, wanted: int) -> int:
    """The largest divisor of `size` that is at most `wanted`."""
    return max(one for one in divisors(size) if one <= wanted)


def nearest_divisor(hidden: int) -> int:
    """The a2 for which hidden / a2 is nearest to `SLICE`."""
    return min(divisors(hidden), key=lambda one: abs(hidden / one - SLICE))


register("kron_lora", KronLoraConfig, KronLoraModel, "kron_")
