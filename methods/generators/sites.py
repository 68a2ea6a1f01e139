"""The linear layers that a generated adapter changes, kind by kind in the blocks' order; shapes are the model's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import UserError, unknown


@dataclass(frozen=True)
class Site:
    """One kind of layer: `modules` are its full names, one a block, each of them [outputs, inputs]."""

    name: str
    modules: tuple[str, ...]
    outputs: int
    inputs: int


def sites_of(model: Any, targets: Sequence[str]) -> tuple[Site, ...]:
    """The sites of a transformers model for the names in `targets`, which are last parts such as `down_proj`."""
    import torch

    layers = {
        name: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    return sites_among(layers, targets)


def sites_among(layers: Mapping[str, tuple[int, int]], targets: Sequence[str]) -> tuple[Site, ...]:
    """The same from names and shapes alone. UserError for a name that is none, or layers that differ over blocks."""
    kinds: dict[str, list[str]] = {}
    for name in layers:
        parts = name.split(".")
        block = next((place for place, part in enumerate(parts) if part.isdigit()), None)
        if block is not None:
            kinds.setdefault(".".join(parts[block + 1 :]), []).append(name)
    blocks = max(map(len, kinds.values()), default=0)
    found = []
    for target in targets:
        chosen = [kind for kind in kinds if kind.rpartition(".")[2] == target]
        if not chosen:
            raise unknown("linear layer of this model's blocks", target, {kind.rpartition(".")[2] for kind in kinds})
        for kind in chosen:
            shapes = {layers[name] for name in kinds[kind]}
            if len(shapes) > 1 or len(kinds[kind]) != blocks:
                raise UserError(f"The layers {kind!r} are not there in every block or not of one shape: take others.")
            found.append(Site(kind, tuple(kinds[kind]), *shapes.pop()))
    return tuple(found)
