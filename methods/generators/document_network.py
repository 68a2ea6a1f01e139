"""Doc-to-LoRA's hypernetwork: activations of a document's chunks in, low-rank factors of every layer out.

Charakorn et al. 2026 (arXiv 2602.15902), section 3 and appendix. A Perceiver gives one vector a rank of every kind and
layer; a residual MLP with weights of its own for each layer and a head without bias turn the vector, scaled to length
one, into a row of A [inputs] and of B [outputs]. B's scaler is 0 at the start, as is the constant adapter's B, so that
the first update starts from the base model; A's are not, so that there is a gradient. Updates are multiplied by
2 r^1.5. `per-layer` reads what goes into each block for that block's own adapter, with shared weights; `early-exit`
reads the state after a quarter of the blocks alone and writes all layers from it.

With `gated`, which is ours, a chunk's whole update is also multiplied by a gate of all its vectors before they are
scaled to length one. Without it each chunk adds an update of about the same size, what it tells or not, and those of a
long document's many empty chunks add up. The gate is a sigmoid, stretched so that it can be shut, and then is exactly 0
(after Louizos et al. 2018, arXiv 1712.01312, equation 11, on the lower side and without noise); its gradient is that of
the sigmoid, so that what is shut can open again (straight-through: Bengio et al. 2013, arXiv 1308.3432).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from methods.generators.factors import Factors
from methods.generators.perceiver import Perceiver
from methods.generators.targets import Kind

Reader = Literal["per-layer", "early-exit"]
_HIDDEN = 4  # of the per-layer MLP, over its width
_OPEN = 2.0  # what a gate's sigmoid is of at the start
_STRETCH = 0.1  # by how much the sigmoid reaches below 0
_EXIT = 4  # an early exit comes after this part of the blocks


@dataclass(frozen=True)
class DocumentShape:
    """All that decides the network's tensors. `width` is that of the activations; a rank is one chunk's."""

    width: int
    layers: int
    kinds: tuple[Kind, ...]
    rank: int
    latent: int
    latents: int
    blocks: int
    heads: int
    reader: Reader = "per-layer"
    gated: bool = False

    @property
    def scale(self) -> float:
        """What an update is multiplied by."""
        return 2.0 * self.rank**1.5

    def states_read(self) -> range:
        """Which hidden states are read: number n is what goes into block n."""
        return (
            range(self.layers) if self.reader == "per-layer" else range(self.layers // _EXIT, self.layers // _EXIT + 1)
        )


class DocumentNetwork(nn.Module):
    """Activations [chunks, states, tokens, width] and mask [chunks, tokens] to factors, a row a chunk."""

    no_matrices = ("scale_down", "scale_up", "constant_down", "constant_up", "gate", "gate_bias")
    """Parameters that multiply nothing as matrices do (`methods.optimisers.muon`)."""

    def __init__(self, shape: DocumentShape) -> None:
        super().__init__()
        self.shape = shape
        whole = 1 if shape.reader == "per-layer" else shape.layers  # layers that one reading writes
        queries = whole * len(shape.kinds) * shape.rank
        self.perceiver = Perceiver(shape.width, shape.latent, whole * shape.latents, queries, shape.blocks, shape.heads)
        self.mixer = LayerMLP(shape.layers, shape.latent)
        if shape.gated:
            self.gate = nn.Parameter(torch.zeros(shape.layers, len(shape.kinds), shape.latent))
            self.gate_bias = nn.Parameter(torch.full((1,), _OPEN))
        self.heads = nn.ParameterList()
        self.scale_down, self.scale_up = nn.ParameterList(), nn.ParameterList()
        self.constant_down, self.constant_up = nn.ParameterList(), nn.ParameterList()
        for kind in shape.kinds:
            both = kind.inputs + kind.outputs
            head = torch.empty(shape.layers, shape.latent, both)
            self.heads.append(nn.Parameter(head.normal_(std=0.5 / math.sqrt(shape.latent + both * shape.rank))))
            self.scale_down.append(nn.Parameter(torch.ones(shape.layers, shape.rank, 1)))
            self.scale_up.append(nn.Parameter(torch.zeros(shape.layers, shape.rank, 1)))
            down = torch.empty(shape.layers, shape.rank, kind.inputs)
            self.constant_down.append(nn.Parameter(down.normal_(std=0.2 / math.sqrt(kind.inputs * shape.rank))))
            self.constant_up.append(nn.Parameter(torch.zeros(shape.layers, shape.rank, kind.outputs)))

    def forward(self, activations: torch.Tensor, mask: torch.Tensor) -> Factors:
        shape, (chunks, states) = self.shape, activations.shape[:2]
        read = self.perceiver(activations.flatten(0, 1), mask.repeat_interleave(states, 0))
        vectors = read.view(chunks, shape.layers, len(shape.kinds), shape.rank, shape.latent)
        mixed = self.mixer(vectors)  # [chunks, layers, kinds, rank, latent]
        unit, opened = functional.normalize(mixed, dim=-1), self._opened(mixed) if shape.gated else None
        down, up = {}, {}
        for place, kind in enumerate(shape.kinds):
            rows = torch.einsum("clrd,ldo->clro", unit[:, :, place], self.heads[place])
            first, second = rows.split((kind.inputs, kind.outputs), -1)
            down[kind.name], up[kind.name] = first * self.scale_down[place], second * self.scale_up[place]
            if opened is not None:
                up[kind.name] = up[kind.name] * opened[:, None, None, None]
        return Factors(down, up, opened)

    def _opened(self, mixed: torch.Tensor) -> torch.Tensor:
        """How far each chunk is written, from 0 to 1: [chunks]."""
        score = torch.einsum("clkrd,lkd->clkr", mixed, self.gate).mean((1, 2, 3)) + self.gate_bias
        stretched = (1 + _STRETCH) * torch.sigmoid(score) - _STRETCH
        return stretched + (functional.relu(stretched) - stretched).detach()

    def operations(self, tokens: Sequence[int]) -> float:
        """Floating-point operations of a forward pass over chunks of so many tokens: two for every use of a weight."""
        shape, latent = self.shape, self.shape.latent
        perceiver = self.perceiver
        reading = 2 * latent * latent  # weights of keys and values, used for what is read; the others for who reads
        block = sum(weight.numel() for weight in perceiver.decode.parameters()) - reading
        project = sum(weight.numel() for weight in perceiver.project.parameters())
        latents, queries = len(perceiver.latents), len(perceiver.queries)
        states = len(shape.states_read())
        by_token = project + shape.blocks * reading
        by_state = shape.blocks * latents * block + latents * reading + queries * block
        widths = sum(kind.inputs + kind.outputs + shape.gated for kind in shape.kinds)
        by_chunk = shape.layers * shape.rank * latent * (2 * _HIDDEN * latent * len(shape.kinds) + widths)
        return 2.0 * (states * by_token * sum(tokens) + len(tokens) * (states * by_state + by_chunk))

    def constant(self) -> Factors:
        """What is added for every document, once."""
        names = [kind.name for kind in self.shape.kinds]
        down = {name: part[None] for name, part in zip(names, self.constant_down, strict=True)}
        up = {name: part[None] for name, part in zip(names, self.constant_up, strict=True)}
        return Factors(down, up)


class LayerMLP(nn.Module):
    """x + norm(W2 silu(W1 norm(x))) over [rows, layers, ..., latent], weights a layer, norms shared."""

    no_matrices = ("first_bias", "second_bias")

    def __init__(self, layers: int, latent: int) -> None:
        super().__init__()
        hidden = _HIDDEN * latent
        self.before, self.after = nn.LayerNorm(latent), nn.LayerNorm(latent)
        self.first = nn.Parameter(torch.empty(layers, latent, hidden).uniform_(-1, 1) / math.sqrt(latent))
        self.first_bias = nn.Parameter(torch.zeros(layers, hidden))
        self.second = nn.Parameter(torch.empty(layers, hidden, latent).uniform_(-1, 1) / math.sqrt(hidden))
        self.second_bias = nn.Parameter(torch.zeros(layers, latent))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spread = (slice(None), None, None)
        inner = torch.einsum("clsrd,ldh->clsrh", self.before(x), self.first) + self.first_bias[spread]
        outer = torch.einsum("clsrh,lhd->clsrd", functional.silu(inner), self.second) + self.second_bias[spread]
        return x + self.after(outer)
