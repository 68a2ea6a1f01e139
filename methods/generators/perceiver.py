"""The Perceiver that reads a document: learned latents attend to its activations, learned queries to the latents.

Cross-attention alone (Jaegle et al. 2021, arXiv 2103.03206, as used by Doc-to-LoRA, Charakorn et al. 2026, arXiv
2602.15902, section 3 and appendix): a SwiGLU projects activations [width] to [latent]; each block is RMS-normed
cross-attention with four query heads a key head and a SwiGLU, both residual with a norm on what they add. There is no
position code: order is what the language model's activations carry. Padding is masked and never read.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

_WIDENING = 4  # hidden width of every SwiGLU over its input's, and query heads over key heads


class SwiGLU(nn.Module):
    """down(silu(gate x) * up x), `inputs` -> `hidden` -> `outputs`."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.gate = nn.Linear(inputs, hidden, bias=False)
        self.up = nn.Linear(inputs, hidden, bias=False)
        self.down = nn.Linear(hidden, outputs, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class CrossAttention(nn.Module):
    """Latents [rows, latents, latent] read a context [rows, tokens, latent] under a mask [rows, tokens]."""

    def __init__(self, latent: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, latent // heads
        wide = _WIDENING * latent
        self.query = nn.Linear(latent, wide, bias=False)
        self.key = nn.Linear(latent, latent, bias=False)
        self.value = nn.Linear(latent, latent, bias=False)
        self.out = nn.Linear(wide, latent, bias=False)
        self.norm_latents, self.norm_context, self.norm_read, self.norm_before, self.norm_after = (
            nn.RMSNorm(latent) for _ in range(5)
        )
        self.feed_forward = SwiGLU(latent, wide, latent)

    def forward(self, latents: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        normed = self.norm_context(context)
        query = self._split(self.query(self.norm_latents(latents)), _WIDENING * self.heads)
        key, value = self._split(self.key(normed), self.heads), self._split(self.value(normed), self.heads)
        read = functional.scaled_dot_product_attention(
            query, key, value, None if mask is None else mask[:, None, None, :].bool(), enable_gqa=True
        )
        latents = latents + self.norm_read(self.out(read.transpose(1, 2).flatten(2)))
        return latents + self.norm_after(self.feed_forward(self.norm_before(latents)))

    def _split(self, x: torch.Tensor, heads: int) -> torch.Tensor:
        return x.unflatten(-1, (heads, self.width)).transpose(1, 2)


class Perceiver(nn.Module):
    """Activations [rows, tokens, width] and their mask to `queries` vectors a row, [rows, queries, latent]."""

    no_matrices = ("latents", "queries")

    def __init__(self, width: int, latent: int, latents: int, queries: int, blocks: int, heads: int) -> None:
        """`heads` are those of keys and values; `latent` is their number times their width."""
        super().__init__()
        self.project = SwiGLU(width, _WIDENING * width, latent)
        self.latents = nn.Parameter(torch.empty(latents, latent))
        self.blocks = nn.ModuleList(CrossAttention(latent, heads) for _ in range(blocks))
        self.queries = nn.Parameter(torch.empty(queries, latent))
        self.decode = CrossAttention(latent, heads)
        for learned in (self.latents, self.queries):
            nn.init.normal_(learned, std=1.0)

    def forward(self, activations: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        context = self.project(activations)
        latents = self.latents.expand(len(context), -1, -1)
        for block in self.blocks:
            latents = block(latents, context, mask)
        return self.decode(self.queries.expand(len(context), -1, -1), latents, None)
