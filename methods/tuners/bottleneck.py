"""A parallel adapter: y = FFN(h) + s up(SiLU(down(h))) beside the feed-forward module of every block.

He et al. 2022, arXiv 2110.04366, section 3 and 4.6: parallel to the feed-forward block and scaled it is the best of the
adapters they compare. `down` is drawn, `up` is zero, so the start is the base model. It is not linear in h, so it can
be switched off but never merged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import PeftType
from torch import nn

from methods.tuners.blocks import blocks, feed_forward_name
from methods.tuners.layers import Unmergeable, WrappingTuner, kaiming
from methods.tuners.registration import register


@dataclass
class BottleneckConfig(PeftConfig):
    """`width` is the bottleneck; `scale` multiplies what the adapter adds."""

    width: int = 16
    scale: float = 4.0
    target_modules: Any = None
    exclude_modules: Any = None
    layers_to_transform: Any = None
    layers_pattern: Any = None
    bias: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType("BOTTLENECK")


class ParallelExpert(nn.Module):
    """up(SiLU(down(h))) with biases, [.., hidden] to [.., hidden]."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, width)
        self.up = nn.Linear(width, hidden)
        kaiming(self.down.weight.data)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return self.up(torch.nn.functional.silu(self.down(h)))


class BottleneckLayer(Unmergeable, nn.Module, BaseTunerLayer):
    """A feed-forward module with adapters beside it."""

    why_unmergeable = "its activation is not linear in the layer's input, so no weight can hold it"
    adapter_layer_names = ("bottleneck_expert",)
    other_param_names = ("scaling",)

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: BottleneckConfig, key: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.bottleneck_expert = nn.ModuleDict()
        self.scaling: dict[str, float] = {}
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config, key)

    def update_layer(self, adapter_name: str, config: BottleneckConfig, key: str) -> None:
        first = next(module for module in self.base_layer.modules() if isinstance(module, nn.Linear))
        expert = ParallelExpert(first.in_features, config.width)
        self.bottleneck_expert[adapter_name] = expert.to(first.weight.device)
        self.scaling[adapter_name] = config.scale
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        result = self.base_layer(hidden, *args, **kwargs)
        if self.disable_adapters:
            return result
        for name in self.active_adapters:
            if name in self.bottleneck_expert:
                expert = self.bottleneck_expert[name]
                added = self.scaling[name] * expert(hidden.to(expert.down.weight.dtype))
                result = result + added.to(result.dtype)
        return result


class BottleneckModel(WrappingTuner):
    """PEFT's model of the type BOTTLENECK."""

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLayer

    def _prepare_adapter_config(self, peft_config: Any, model_config: dict[str, Any]) -> Any:
        if peft_config.target_modules is None:
            path, layers = blocks(self.model)
            name = feed_forward_name(layers[0])
            peft_config.target_modules = [f"{path}.{index}.{name}" for index in range(len(layers))]
        return peft_config


register("bottleneck", BottleneckConfig, BottleneckModel, "bottleneck_")
