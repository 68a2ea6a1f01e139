"""An adapter of its own for each of some documents, or of some described tasks: what gradients train, as a generator.

Nothing is read: a LoRA is looked up by a text that it stands for (a document; any of a task's descriptions), and is (A
drawn as PEFT draws it, B zero) moved by the gradients of its own questions alone. A text that nothing was trained for
is given an adapter that changes nothing, and refused where an adapter is to be kept.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from harness.generated import GeneratedAdapters
from harness.lora_files import LoraAdapter
from methods.generators.targets import layers_of


class AdapterTable(nn.Module):
    """LoRA factors by text, module by module; empty until `hold`."""

    def __init__(
        self, base: Any, targets: Sequence[str], rank: int, alpha: float, texts: Sequence[Sequence[str]] = ()
    ) -> None:
        """`texts` are, LoRA by LoRA, the names (hashes) of the texts that it stands for."""
        super().__init__()
        self.kinds = layers_of(base, targets)
        self.rank, self.alpha, self.targets, self._device = rank, alpha, list(targets), base.device
        self.down, self.up = nn.ParameterList(), nn.ParameterList()
        self._texts: list[list[str]] = []
        self.place: dict[str, int] = {}
        if texts:
            self._make(texts, torch.Generator())

    @property
    def configuration(self) -> Mapping[str, Any]:
        """What it is made of, the names of the texts with it."""
        return {"targets": self.targets, "rank": self.rank, "alpha": self.alpha, "texts": self._texts}

    def hold(self, texts: Sequence[Sequence[str]], seed: int, alike: bool = False) -> None:
        """Begin a LoRA for each group of `texts`, drawn under `seed` (`alike`: all with one draw); a text
        belongs to one group."""
        names = [[name_of(text) for text in group] for group in texts]
        self._make(names, torch.Generator().manual_seed(seed % 2**63))
        if alike:
            for down in self.down:
                down.data[:] = down.data[0].clone()
        self.to(self._device)

    def refuses(self, texts: Sequence[str]) -> str | None:
        """The first text that there are no factors for, if there is one."""
        unknown = next((text for text in texts if name_of(text) not in self.place), None)
        if unknown is None:
            return None
        start = " ".join(unknown.split())[:40]
        return (
            f"The text {start!r} is none of the {len(self.place)} that this run trained adapters for, and it can write "
            "for no other: take a run of a hypernetwork (d2l, t2l), or train with this text."
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

    def adapters(self) -> dict[str, LoraAdapter]:
        """All that there are, by the names of their texts."""
        if not self.place:
            return {}
        modules, count = [module for kind in self.kinds for module in kind.modules], len(self._texts)
        down, up = dict(zip(modules, self.down, strict=True)), dict(zip(modules, self.up, strict=True))
        whole = GeneratedAdapters(down, up, self.alpha / self.rank, (self.rank,) * count)
        made = [whole.adapter(at, None) for at in range(count)]
        return {name: made[at] for name, at in self.place.items()}

    def operations(self, tokenizer: Any, texts: Sequence[str]) -> float:
        """Looking up costs nothing."""
        return 0.0

    def _make(self, texts: Sequence[Sequence[str]], generator: torch.Generator) -> None:
        self._texts = [list(group) for group in texts]
        self.place = {name: at for at, group in enumerate(self._texts) for name in group}
        self.down, self.up = nn.ParameterList(), nn.ParameterList()
        for kind in self.kinds:
            for _ in kind.modules:
                bound = 1 / math.sqrt(kind.inputs)
                down = torch.empty(len(texts), self.rank, kind.inputs).uniform_(-bound, bound, generator=generator)
                self.down.append(nn.Parameter(down))
                self.up.append(nn.Parameter(torch.zeros(len(texts), kind.outputs, self.rank)))


def name_of(text: str) -> str:
    """A text's name: its hash."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
