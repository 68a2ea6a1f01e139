"""Where things sit in a causal model of any architecture: its blocks, their attention and feed-forward modules.

The blocks are the longest `ModuleList` whose modules are all of one class; the attention is the child whose name says
so; the feed-forward block is the child, neither attention nor a norm, that holds linear layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from harness.errors import UserError


def blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Path and list of the decoder blocks."""
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) and len({type(one) for one in module}) == 1
    ]
    if not lists:
        raise UserError(f"{type(model).__name__} has no list of decoder blocks to put this adapter into.")
    return max(lists, key=lambda entry: sum(1 for _ in entry[1].modules()))


def attention_name(block: nn.Module) -> str:
    """Name of the attention inside a block."""
    return _child(block, "attention", lambda name, module: "attn" in name or "attention" in name)


def feed_forward_name(block: nn.Module) -> str:
    """Name of the feed-forward module inside a block."""
    attention = attention_name(block)
    return _child(block, "feed-forward module", lambda name, module: name != attention)


def _child(block: nn.Module, what: str, fits: Callable[[str, nn.Module], bool]) -> str:
    found = [
        name
        for name, module in block.named_children()
        if fits(name, module) and "norm" not in name and any(_linear(one) for one in module.modules())
    ]
    if len(found) != 1:
        there = ", ".join(name for name, _ in block.named_children())
        raise UserError(f"A block of this model has {len(found)} candidates for its {what} (of {there}), not one.")
    return found[0]


def _linear(module: Any) -> bool:
    weight = getattr(module, "weight", None)
    return weight is not None and weight.ndim == 2
