"""Text-to-LoRA's network: phi(m, l) = [f(z); E_module[m]; E_layer[l]], and h(phi) = the LoRA factors of that layer.

Charakorn et al. 2025 (arXiv 2506.06105, section 3, appendix F): z is the text's vector, the trunk is a mixer and three
residual blocks of latent width d (hidden width 4d), all layers of a kind go through as one batch, one linear head a
kind gives the factors. L: a head gives A and B at once; M: the head runs twice, told A or B by a learned embedding
after the first block; S: once for every row of A and of B, told its rank by another one after the second. The update
is alpha / sqrt(rank) * B A (rsLoRA), which exports say.

Heads start at weight 0 and a bias that is LoRA's own start ("Bias-HyperInit"): A uniform in +-1/sqrt(inputs) (PEFT's
Kaiming draw), B zero, so that L writes no update for any text at first; M and S share one bias, divided by sqrt(2) and
by sqrt(2 rank), and their first updates are not zero. With `standardised` (reconstruction) heads have no bias and
predict entries in units of a library's mean and standard deviation, entry by entry.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from harness.generated import GeneratedAdapters
from methods.generators.encoders import Encoder
from methods.generators.t2l import Size
from methods.generators.targets import Kind

Factors = tuple[torch.Tensor, torch.Tensor]
"""A [texts, layers, rank, inputs] and B [texts, layers, rank, outputs]: B as rows, turned when it is written."""


@dataclass(frozen=True)
class Settings:
    """What decides the shapes, besides the base model and the encoder."""

    size: Size
    rank: int
    alpha: float
    latent: int
    standardised: bool = False
    dropout: float = 0.05


class Block(nn.Module):
    """x + MLP(LayerNorm(x)) of width d -> 4d -> d, SiLU and dropout after each; the mixer is one without the rest."""

    def __init__(self, width: int, dropout: float, residual: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if residual else None
        self.layers = nn.Sequential(
            nn.Linear(width, 4 * width), nn.SiLU(), nn.Dropout(dropout),
            nn.Linear(4 * width, width), nn.SiLU(), nn.Dropout(dropout),
        )  # fmt: skip

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.layers(inputs if self.norm is None else self.norm(inputs))
        return made if self.norm is None else inputs + made


class TextToLora(nn.Module):
    """A `harness.contracts.Generator` over descriptions."""

    def __init__(self, kinds: Sequence[Kind], encoder: Encoder, settings: Settings, made_of: Mapping[str, Any]) -> None:
        super().__init__()
        width = settings.latent
        self.kinds, self.encoder, self.settings = tuple(kinds), encoder, settings
        self.configuration: Mapping[str, Any] = {**asdict(settings), **made_of}
        blocks = 1 + max(block for kind in kinds for block in kind.blocks)
        self.read = nn.Sequential(nn.Linear(encoder.width, width // 2), nn.LayerNorm(width // 2))
        self.module = nn.Sequential(nn.Embedding(len(kinds), width // 4), nn.LayerNorm(width // 4))
        self.layer = nn.Sequential(nn.Embedding(blocks, width // 4), nn.LayerNorm(width // 4))
        self.mixer = Block(width, settings.dropout, residual=False)
        self.first, self.second = (Block(width, settings.dropout, residual=True) for _ in range(2))
        self.third = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width), nn.SiLU()
        )
        if settings.size != "L":
            self.factor = nn.Embedding(2 * len(kinds), width)
            self.factor_norm = nn.LayerNorm(width)
        if settings.size == "S":
            self.row = nn.Sequential(nn.Embedding(settings.rank, width), nn.LayerNorm(width))
        self.heads = nn.ModuleList(
            nn.Linear(4 * width, self._head_width(kind), bias=not settings.standardised) for kind in kinds
        )
        for kind, head in zip(kinds, self.heads, strict=True):
            self._start(kind, head)
        if settings.standardised:
            for number, kind in enumerate(kinds):
                for factor, size in (("a", kind.inputs), ("b", kind.outputs)):
                    shape = (len(kind.modules), settings.rank, size)
                    self.register_buffer(f"mean_{factor}_{number}", torch.zeros(shape))
                    self.register_buffer(f"std_{factor}_{number}", torch.ones(shape))

    @property
    def scale(self) -> float:
        """What the update B A is multiplied by."""
        return self.settings.alpha / math.sqrt(self.settings.rank)

    def factors(self, vectors: torch.Tensor) -> list[Factors]:
        """The factors of every kind for text vectors [texts, width]; standardised where the network is."""
        read = self.read(vectors)
        return [self._of_kind(number, kind, read) for number, kind in enumerate(self.kinds)]

    def write(self, base: Any, tokenizer: Any, texts: Sequence[str]) -> GeneratedAdapters:
        """The adapters of `texts`; UserError for an empty text or one longer than the encoder's window."""
        made = self.factors(self.encoder.encode(base, tokenizer, texts))
        down, up = {}, {}
        for number, (kind, (a, b)) in enumerate(zip(self.kinds, made, strict=True)):
            if self.settings.standardised:
                a = a * self.get_buffer(f"std_a_{number}") + self.get_buffer(f"mean_a_{number}")
                b = b * self.get_buffer(f"std_b_{number}") + self.get_buffer(f"mean_b_{number}")
            for place, name in enumerate(kind.modules):
                down[name], up[name] = a[:, place], b[:, place].transpose(1, 2)
        return GeneratedAdapters(down, up, self.scale, (self.settings.rank,) * len(texts), rslora=True)

    def operations(self, tokenizer: Any, texts: Sequence[str]) -> float:
        """2 operations a weight and pass: trunk once a layer, later parts once a factor (M) or row of one (S)."""
        count = {name: sum(p.numel() for p in part.parameters()) for name, part in self.named_children()}
        runs = {"L": (1, 1), "M": (2, 2), "S": (2, 2 * self.settings.rank)}[self.settings.size]
        of_trunk = count["mixer"] + count["first"] + runs[0] * count["second"] + runs[1] * count["third"]
        heads = [sum(p.numel() for p in head.parameters()) for head in self.heads]
        layers = sum(
            len(kind.modules) * (of_trunk + runs[1] * head) for kind, head in zip(self.kinds, heads, strict=True)
        )
        return 2.0 * len(texts) * (count["read"] + layers)

    def _of_kind(self, number: int, kind: Kind, read: torch.Tensor) -> Factors:
        texts, layers, device = len(read), len(kind.modules), read.device
        module = self.module(torch.tensor(number, device=device)).expand(texts, layers, -1)
        layer = self.layer(torch.tensor(kind.blocks, device=device)).expand(texts, -1, -1)
        state = self.first(self.mixer(torch.cat([read[:, None].expand(-1, layers, -1), module, layer], -1)))
        rank, head = self.settings.rank, self.heads[number]
        if self.settings.size == "L":
            made = head(self.third(self.second(state)))
            a, b = made.split([rank * kind.inputs, rank * kind.outputs], -1)
            return a.reshape(texts, layers, rank, kind.inputs), b.reshape(texts, layers, rank, kind.outputs)
        told = self.factor_norm(self.factor(torch.tensor([2 * number, 2 * number + 1], device=device)))
        state = self.second(state[:, :, None] + told)  # [texts, layers, A or B, latent]
        if self.settings.size == "S":
            state = state[:, :, :, None] + self.row(torch.arange(rank, device=device))
        made = head(self.third(state)).reshape(texts, layers, 2, rank, -1)
        return made[:, :, 0, :, : kind.inputs], made[:, :, 1, :, : kind.outputs]

    def _head_width(self, kind: Kind) -> int:
        if self.settings.size == "L":
            return self.settings.rank * (kind.inputs + kind.outputs)
        return (self.settings.rank if self.settings.size == "M" else 1) * max(kind.inputs, kind.outputs)

    def _start(self, kind: Kind, head: nn.Linear) -> None:
        """Weight 0 and LoRA's own start as bias; standardised heads keep their draw, as their zero is the mean."""
        if self.settings.standardised:
            return
        bound = 1.0 / math.sqrt(kind.inputs)
        share = {"L": 1.0, "M": math.sqrt(2), "S": math.sqrt(2 * self.settings.rank)}[self.settings.size]
        with torch.no_grad():
            head.weight.zero_()
            head.bias.uniform_(-bound / share, bound / share)
            if self.settings.size == "L":
                head.bias[self.settings.rank * kind.inputs :] = 0.0
