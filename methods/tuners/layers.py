"""What this project's PEFT tuners share: a model that wraps its target modules, one adapter or several at a time.

A tuner is a configuration with `target_modules`, and a layer class that is made from (base layer, adapter name,
configuration, name of the module). Enabling, disabling, saving, loading, deleting and merging are PEFT's own.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer, check_adapters_to_merge
from torch import nn


class WrappingTuner(BaseTuner):
    """Puts `tuner_layer_cls` around every target module."""

    prefix: str
    tuner_layer_cls: ClassVar[Any]
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}

    def _create_and_replace(
        self, config: Any, adapter_name: str, target: Any, target_name: str, parent: Any, current_key: str, **_: Any
    ) -> None:
        if isinstance(target, self.tuner_layer_cls):
            target.update_layer(adapter_name, config, current_key)
            return
        layer = self.tuner_layer_cls(target, adapter_name, config, current_key)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)


class Unmergeable:
    """First base of a tuner layer that no weight can hold: PEFT is told so, with the reason, when it asks to merge."""

    why_unmergeable: ClassVar[str]

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        raise NotImplementedError(self.why_unmergeable)

    def unmerge(self) -> None:
        raise NotImplementedError(self.why_unmergeable)


class LinearLayer(nn.Module, BaseTunerLayer):
    """An additive adapter of a linear layer: subclasses say what they hold, add and materialise."""

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: Any, key: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self.cast_input_dtype_enabled = True
        self.scaling: dict[str, float] = {}
        for name in self.adapter_layer_names:
            setattr(self, name, nn.ParameterDict())
        linear = self.get_base_layer()
        if not isinstance(linear, nn.Linear):
            raise TypeError(f"layer {key!r} is a {type(linear).__name__}, only linear layers can be adapted")
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config, key)

    def update_layer(self, adapter_name: str, config: Any, key: str) -> None:
        """Make the adapter's tensors."""
        self.create(adapter_name, config, key)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def create(self, adapter_name: str, config: Any, key: str) -> None:
        raise NotImplementedError

    def added(self, inputs: torch.Tensor, adapter_name: str) -> torch.Tensor:
        """What the adapter adds to the layer's output for `inputs` [..., in_features]."""
        raise NotImplementedError

    def get_delta_weight(self, adapter_name: str) -> torch.Tensor:
        """The dense update [out_features, in_features]: for merging only, never in a forward pass."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.disable_adapters:
            if self.merged:
                self.unmerge()
            return self.base_layer(x, *args, **kwargs)
        result = self.base_layer(x, *args, **kwargs)
        if self.merged:
            return result
        for name in self.active_adapters:
            if name in self._all_available_adapter_names():
                first = getattr(self, self.adapter_layer_names[0])[name]
                added = self.added(self._cast_input_dtype(x, first.dtype), name)
                result = result + added.to(result.dtype)
        return result

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add the updates to the base weight, in float32, cast once."""
        base = self.get_base_layer()
        for name in check_adapters_to_merge(self, adapter_names):
            weight = (base.weight.data.float() + self.get_delta_weight(name).float()).to(base.weight.dtype)
            if safe_merge and not torch.isfinite(weight).all():
                raise ValueError(f"the merged weights of adapter {name!r} are not finite")
            base.weight.data = weight
            self.merged_adapters.append(name)

    def unmerge(self) -> None:
        """Take the updates out again, up to rounding."""
        base = self.get_base_layer()
        while self.merged_adapters:
            update = self.get_delta_weight(self.merged_adapters.pop()).float()
            base.weight.data = (base.weight.data.float() - update).to(base.weight.dtype)


def kaiming(tensor: torch.Tensor) -> torch.Tensor:
    """PEFT's start of a LoRA A: uniform with bound 1 / sqrt(inputs)."""
    nn.init.kaiming_uniform_(tensor, a=math.sqrt(5))
    return tensor
