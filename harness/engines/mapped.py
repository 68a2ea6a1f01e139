"""Adapter layers of any kind, mapped over the members of a population by `torch.func.vmap`.

A tuner layer of PEFT (DoRA, IA3, VeRA, a project's own) is a function of its input and its searched tensors; mapped,
it runs once for all members, the base's product shared as one. Whether a layer can be mapped at all is found out by
trying it once on two members (`can_be_mapped`); where it cannot, members are answered one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from harness.engines.layout import Layout, LowRank
from harness.errors import is_out_of_memory

_KNOWN: WeakKeyDictionary[nn.Module, dict[tuple[str, ...], bool]] = WeakKeyDictionary()


def tuner_layers(model: nn.Module) -> Iterator[nn.Module]:
    """Every outermost layer that PEFT has put around another."""
    for name, module in model.named_modules():
        if hasattr(module, "base_layer") and hasattr(module, "active_adapters"):
            inner = [part for part in name.split(".") if part == "base_layer"]
            if not inner:
                yield module


def mapped(module: Any, own: dict[str, torch.Tensor | LowRank], layout: Layout) -> Callable[..., torch.Tensor]:
    """The forward of `module` with its members' own tensors, by their names below it."""
    parameters = dict(module.named_parameters())
    banks = {
        name: tensor if isinstance(tensor, torch.Tensor) else parameters[name].detach() + tensor.dense(layout.count)
        for name, tensor in own.items()
    }

    def one(tensors: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.func.functional_call(module, tensors, (inputs,))
        return result

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        patched = module.__dict__.pop("forward")
        try:
            return layout.of(inputs.shape[0]).mapped(torch.func.vmap(one), inputs, banks)
        finally:
            module.forward = patched

    return forward


def can_be_mapped(model: Any, names: Iterable[str], attempt: Callable[[], None]) -> bool:
    """Whether `attempt`, a forward pass of two members, goes through; remembered for as long as the model lives."""
    known = _KNOWN.setdefault(model, {})
    key = tuple(sorted(names))
    if key not in known:
        try:
            attempt()
            known[key] = True
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:  # vmap says no in many ways
            if is_out_of_memory(error):
                raise
            known[key] = False
    return known[key]
