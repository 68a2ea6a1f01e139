"""Low-rank factors of all adapted layers, chunk by chunk, and the adapters of whole documents made of them.

A chunk changes layer l of a kind by scale * up[l].T @ down[l]; a rank is one row of both. Ranks side by side add their
updates: a document's adapter has those of all its chunks and, once, those of the constant adapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from harness.generated import GeneratedAdapters
from methods.generators.targets import Kind


@dataclass(frozen=True)
class Factors:
    """By the name of a kind: `down` [chunks, layers, rank, inputs] and `up` [chunks, layers, rank, outputs]."""

    down: Mapping[str, torch.Tensor]
    up: Mapping[str, torch.Tensor]
    opened: torch.Tensor | None = None
    """How far each chunk is written, from 0 to 1 [chunks], where that is learnt; already part of `up`."""

    @classmethod
    def concatenated(cls, parts: Sequence[Factors]) -> Factors:
        """Chunks that were written apart, one below another."""
        opened = [one.opened for one in parts if one.opened is not None]
        return cls(
            *({name: torch.cat([side(one)[name] for one in parts]) for name in side(parts[0])} for side in _SIDES),
            torch.cat(opened) if opened else None,
        )

    def told(self, counts: Sequence[int]) -> tuple[Factors, list[int]]:
        """Without the chunks that are shut, which add nothing; and how many of the `counts` stay. While gradients are
        kept all stay: it is from them that a gate may learn to open again."""
        if self.opened is None or torch.is_grad_enabled():
            return self, list(counts)
        stay = self.opened > 0
        return (
            Factors(*({name: part[stay] for name, part in side(self).items()} for side in _SIDES), self.opened[stay]),
            [int(part.sum()) for part in stay.split(list(counts))],
        )

    def numel(self) -> int:
        """Numbers of one chunk."""
        return sum(part[0].numel() for side in (self.down, self.up) for part in side.values())


_SIDES = (lambda factors: factors.down, lambda factors: factors.up)


def joined(
    kinds: Sequence[Kind], chunks: Factors, counts: Sequence[int], constant: Factors, scale: float
) -> GeneratedAdapters:
    """The adapters of documents: `counts` says how many of the `chunks` belong to each, in order.

    Chunks that are shut are left out. Documents of fewer chunks than others end in ranks of zeros. `constant` has one
    row.
    """
    opened = None if chunks.opened is None else torch.stack([one.mean() for one in chunks.opened.split(list(counts))])
    chunks, counts = chunks.told(counts)
    most = max(counts)
    down: dict[str, torch.Tensor] = {}
    up: dict[str, torch.Tensor] = {}

    def join(parts: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        documents = []
        for part in parts.split(list(counts)):  # [chunks, layers, rank, width]
            whole = torch.cat([part.transpose(0, 1).flatten(1, 2), fixed[0]], 1)
            documents.append(torch.nn.functional.pad(whole, (0, 0, 0, (most - len(part)) * parts.shape[2])))
        return torch.stack(documents, 1)  # [layers, documents, ranks, width]

    for kind in kinds:
        downs = join(chunks.down[kind.name], constant.down[kind.name])
        ups = join(chunks.up[kind.name], constant.up[kind.name]).transpose(2, 3)
        down |= dict(zip(kind.modules, downs, strict=True))
        up |= dict(zip(kind.modules, ups, strict=True))
    rank = next(iter(chunks.down.values())).shape[2]
    fixed = next(iter(constant.down.values())).shape[2]
    return GeneratedAdapters(down, up, scale, tuple(count * rank + fixed for count in counts), opened=opened)
