"""Steering vectors: h + strength * v after chosen decoder blocks: activations move, weights do not.

Turner et al. 2023 (arXiv 2308.10248) and Rimsky et al. 2024 (arXiv 2312.06681): v lives in the residual stream. It
starts at zero, so the start is the base model. A constant added to a block's output could only be a weight where the
block's last layer has a bias, which most models do not have, so it is never merged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import PeftType
from torch import nn

from methods.tuners.blocks import blocks
from methods.tuners.layers import Unmergeable, WrappingTuner
from methods.tuners.registration import register


@dataclass
class SteeringConfig(PeftConfig):
    """`depth` is the block after which the vector is added, as a share of all; None is after every block."""

    depth: float | None = 0.5
    strength: float = 1.0
    target_modules: Any = None
    exclude_modules: Any = None
    layers_to_transform: Any = None
    layers_pattern: Any = None
    bias: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType("STEERING")


class SteeringLayer(Unmergeable, nn.Module, BaseTunerLayer):
    """A decoder block with vectors added to what it hands on."""

    why_unmergeable = "a vector added to activations has no weight to live in"
    adapter_layer_names = ("steering_vector",)
    steering_layer = True
    other_param_names: ClassVar[tuple[str, ...]] = ("strength",)

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: SteeringConfig, key: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.steering_vector = nn.ParameterDict()
        self.strength: dict[str, float] = {}
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config, key)

    def update_layer(self, adapter_name: str, config: SteeringConfig, key: str) -> None:
        first = next(module for module in self.base_layer.modules() if isinstance(module, nn.Linear))
        vector = torch.zeros(first.in_features, device=first.weight.device)
        self.steering_vector[adapter_name] = nn.Parameter(vector)
        self.strength[adapter_name] = config.strength
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        result = self.base_layer(*args, **kwargs)
        if self.disable_adapters:
            return result
        hidden = result[0] if isinstance(result, tuple) else result
        for name in self.active_adapters:
            if name in self.steering_vector:
                hidden = hidden + (self.strength[name] * self.steering_vector[name]).to(hidden.dtype)
        return (hidden, *result[1:]) if isinstance(result, tuple) else hidden

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_layer"), name)


class SteeringModel(WrappingTuner):
    """PEFT's model of the type STEERING."""

    prefix = "steering_"
    tuner_layer_cls = SteeringLayer

    def _prepare_adapter_config(self, peft_config: SteeringConfig, model_config: dict[str, Any]) -> SteeringConfig:
        if peft_config.target_modules is None:
            path, layers = blocks(self.model)
            last = len(layers) - 1
            chosen = range(len(layers)) if peft_config.depth is None else [round(peft_config.depth * last)]
            peft_config.target_modules = [f"{path}.{index}" for index in chosen]
        return peft_config


register("steering", SteeringConfig, SteeringModel, "steering_")
