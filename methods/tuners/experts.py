"""What MoA mixes: low-rank, parallel and prompt experts, and the router that weighs them (arXiv 2506.05928, section 3).

Starts are those of the published code: LoRA's B is zero, the prompt's per-head gate is zero, the parallel adapter's
matrices are drawn with a gain of 1e-4 (small, not zero), the router's biases are zero, so that every gate begins near a
half.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from harness.errors import UserError
from methods.tuners.layers import kaiming


class LowRankExpert(nn.Module):
    """s B A x, [..., inputs] to [..., outputs]."""

    def __init__(self, inputs: int, outputs: int, rank: int, scale: float) -> None:
        super().__init__()
        if rank > min(inputs, outputs):
            raise UserError(f"moa: rank {rank} is above the {min(inputs, outputs)} of a layer ({outputs} x {inputs}).")
        self.down = nn.Parameter(kaiming(torch.empty(rank, inputs)))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        self.scale = scale

    @property
    def dtype(self) -> torch.dtype:
        return self.down.dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.down.T) @ (self.up.T * self.scale)

    def weighted(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """weight [..., 1] times the output; the product is taken where the expert is thin."""
        return (x @ self.down.T * weight) @ (self.up.T * self.scale)


class ParallelAdapter(nn.Module):
    """up(SiLU(down(h))) with biases."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(width, hidden))
        self.down_bias = nn.Parameter(torch.zeros(width))
        self.up = nn.Parameter(torch.empty(hidden, width))
        self.up_bias = nn.Parameter(torch.zeros(hidden))
        for matrix in (self.down, self.up):
            nn.init.xavier_uniform_(matrix, gain=1e-4)

    @property
    def dtype(self) -> torch.dtype:
        return self.down.dtype

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        inner = nn.functional.silu(nn.functional.linear(h, self.down, self.down_bias))
        return nn.functional.linear(inner, self.up, self.up_bias)

    def weighted(self, h: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """weight [..., 1] times the output; the product is taken where the expert is thin."""
        inner = nn.functional.silu(nn.functional.linear(h, self.down, self.down_bias))
        return (inner * weight) @ self.up.T + weight * self.up_bias


class PromptExpert(nn.Module):
    """Every query's attention over prompt vectors alone, scaled by a gate a head.

    Keys and values are the frozen layers' of the prompt vectors; keys have no position, queries have theirs.
    """

    no_matrices = ("vectors",)
    """They stand for embeddings (`methods.optimisers.muon`)."""

    def __init__(self, hidden: int, tokens: int, attention: nn.Module, config: Any) -> None:
        super().__init__()
        self.heads = int(config.num_attention_heads)
        self.head_size = int(attention.get_submodule("q_proj").out_features) // self.heads  # type: ignore[arg-type]
        self.vectors = nn.Parameter(torch.randn(tokens, hidden))
        self.head_gate = nn.Parameter(torch.zeros(self.heads))

    def forward(self, attention: nn.Module, query: torch.Tensor, position: Any) -> torch.Tensor:
        """[rows, tokens, heads * head size], to be added to what goes into the output layer."""
        if position is None:
            raise UserError("moa's prompt expert needs rotary position embeddings: use prompt_tokens=0 or moa-sparse.")
        q = self._heads_of(query)
        if hasattr(attention, "q_norm"):
            q = attention.q_norm(q)
        q = rotated(q.transpose(-2, -3), *position)
        vectors = self.vectors.to(query.dtype)
        k, v = (self._heads_of(attention.get_submodule(name)(vectors)) for name in ("k_proj", "v_proj"))
        if hasattr(attention, "k_norm"):
            k = attention.k_norm(k)
        repeat = self.heads // k.shape[-2]
        k, v = (one.repeat_interleave(repeat, -2).transpose(-2, -3) for one in (k, v))
        weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(self.head_size), -1)
        found = (weights @ v) * self.head_gate.to(q.dtype).view(-1, 1, 1)
        return found.transpose(-2, -3).reshape(*query.shape)

    def _heads_of(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(*x.shape[:-1], -1, self.head_size)


def rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding of [rows, heads, tokens, size] with cos and sin [rows, tokens, size]."""
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], -1)
    return x * cos.unsqueeze(-3) + turned * sin.unsqueeze(-3)


class Router(nn.Module):
    """W2(SiLU(W1 x) * W3 x) with `width` times as many inner units as experts, or one linear layer for `width` 0."""

    def __init__(self, hidden: int, experts: int, width: int) -> None:
        super().__init__()
        inner = width * experts
        self.out = nn.Linear(inner or hidden, experts)
        self.gate = nn.Linear(hidden, inner) if inner else None
        self.value = nn.Linear(hidden, inner) if inner else None
        for layer in (self.out, self.gate, self.value):
            if layer is not None:
                nn.init.zeros_(layer.bias)

    @property
    def dtype(self) -> torch.dtype:
        return self.out.weight.dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.gate is None or self.value is None:
            return self.out(x)
        return self.out(nn.functional.silu(self.gate(x)) * self.value(x))
