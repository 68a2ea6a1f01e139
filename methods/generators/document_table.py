"""An adapter of its own for each of some documents: what gradient context distillation trains, as a generator.

Nothing is read: a document is looked up by its text, and its LoRA (A drawn as PEFT draws it, B zero) is moved by the
gradients of its own questions alone. A document that it was not trained on is given an adapter that changes nothing,
and refused where an adapter is to be kept.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from harness.generated import GeneratedAdapters
from methods.generators.targets import layers_of


class DocumentTable(nn.Module):
    """LoRA factors by document, module by module; empty until `hold`."""

    def __init__(
        self, base: Any, targets: Sequence[str], rank: int, alpha: float, documents: Sequence[str] = ()
    ) -> None:
        """`documents` are the names (hashes of texts) of those that there are factors for."""
        super().__init__()
        self.kinds = layers_of(base, targets)
        self.rank, self.alpha, self.targets, self._device = rank, alpha, list(targets), base.device
        self.down, self.up = nn.ParameterList(), nn.ParameterList()
        self.place: dict[str, int] = {}
        if documents:
            self._make(documents, torch.Generator())

    @property
    def configuration(self) -> Mapping[str, Any]:
        """What it is made of, the documents with it."""
        return {"targets": self.targets, "rank": self.rank, "alpha": self.alpha, "documents": list(self.place)}

    def hold(self, texts: Sequence[str], seed: int) -> None:
        """Begin factors for `texts`, drawn under `seed`."""
        self._make([name_of(text) for text in texts], torch.Generator().manual_seed(seed % 2**63))
        self.to(self._device)

    def refuses(self, texts: Sequence[str]) -> str | None:
        """The first text that there are no factors for, if there is one."""
        unknown = next((text for text in texts if name_of(text) not in self.place), None)
        if unknown is None:
            return None
        start = " ".join(unknown.split())[:40]
        return (
            f"The document {start!r} is none of the {len(self.place)} that this run distilled, and it can write for no "
            "other: take a run of d2l, or distil this one."
        )

    def write(self, base: Any, tokenizer: Any, texts: Sequence[str]) -> GeneratedAdapters:
        """The adapter of every text, zero for one that there are no factors for."""
        places = [self.place.get(name_of(text)) for text in texts]
        rows = [0 if place is None else place for place in places]
        there = torch.tensor([float(place is not None) for place in places], device=base.device)[:, None, None]
        modules = [(module, kind) for kind in self.kinds for module in kind.modules]
        down, up = {}, {}
        for number, (module, kind) in enumerate(modules):
            if self.place:
                down[module], up[module] = self.down[number][rows], self.up[number][rows] * there
            else:
                down[module] = torch.zeros(len(texts), self.rank, kind.inputs, device=base.device)
                up[module] = torch.zeros(len(texts), kind.outputs, self.rank, device=base.device)
        return GeneratedAdapters(down, up, self.alpha / self.rank, (self.rank,) * len(texts))

    def operations(self, texts: Sequence[str]) -> float:
        """Looking up costs nothing."""
        return 0.0

    def _make(self, names: Sequence[str], generator: torch.Generator) -> None:
        self.place = {name: at for at, name in enumerate(dict.fromkeys(names))}
        self.down, self.up = nn.ParameterList(), nn.ParameterList()
        for kind in self.kinds:
            for _ in kind.modules:
                bound = 1 / math.sqrt(kind.inputs)
                down = torch.empty(len(self.place), self.rank, kind.inputs).uniform_(-bound, bound, generator=generator)
                self.down.append(nn.Parameter(down))
                self.up.append(nn.Parameter(torch.zeros(len(self.place), kind.outputs, self.rank)))


def name_of(text: str) -> str:
    """A text's name: its hash."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
