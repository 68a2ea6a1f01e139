"""The layers of a base model that a generator writes adapters for: found by name, grouped by kind, shapes from them.

A kind is what has the same place in every block (`self_attn.q_proj`) and the same shape; one output head serves it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from harness.errors import UserError, unknown


@dataclass(frozen=True)
class Kind:
    """The layers of one kind."""

    name: str
    outputs: int
    inputs: int
    modules: tuple[str, ...]
    """Names in the base model, first block first."""
    blocks: tuple[int, ...]
    """The block of each."""


def layers_of(base: Any, targets: Sequence[str]) -> tuple[Kind, ...]:
    """The linear layers whose last name is one of `targets`; UserError for a target that there is not."""
    head = base.get_output_embeddings()
    linear = {name: one for name, one in base.named_modules() if type(one) is nn.Linear and one is not head}
    names = {name.rpartition(".")[2] for name in linear}
    missing = next((target for target in targets if target not in names), None)
    if missing is not None:
        raise unknown(f"linear layer of this {base.config.model_type} model", missing, sorted(names))
    if not targets:
        raise UserError(f"Name one kind of layer or more that is to be adapted: {', '.join(sorted(names))}.")
    found: dict[tuple[str, int, int], list[tuple[int, str]]] = {}
    for name, module in linear.items():
        if name.rpartition(".")[2] not in targets:
            continue
        number = re.search(r"\.(\d+)\.", name)
        place = f"{name[: number.start()]}.*.{name[number.end() :]}" if number else name
        key = (place, int(module.weight.shape[0]), int(module.weight.shape[1]))
        found.setdefault(key, []).append((int(number[1]) if number else 0, name))
    return tuple(
        Kind(place, outputs, inputs, tuple(name for _, name in layers), tuple(block for block, _ in layers))
        for (place, outputs, inputs), layers in found.items()
    )
