"""Merging: several models or several updates into one, tensor by tensor, in float32, rounded once.

With tau_i = W_i - W_0: `soup` is sum w_i W_i / sum w_i (Wortsman et al. 2022, arXiv 2203.05482); `task-arithmetic`
W_0 + lam sum w_i tau_i (Ilharco et al. 2023, arXiv 2212.04089); `ties` trims each tau to its largest entries, elects a
sign an entry, and averages what agrees (Yadav et al. 2023, arXiv 2306.01708, algorithm 1); `dare` drops entries at
random and divides the others by the share that is kept (Yu et al. 2024, arXiv 2311.03099, section 3.2), then sums;
`slerp` turns one model into another along a great circle.

Libraries disagree on weights in TIES. `weighted` (mergekit's) elects on weighted entries and divides by the sum of the
agreeing weights; `counted` (PEFT's) elects on unweighted ones and divides by their number. With equal weights of 1
both are the paper's. An entry of zero never agrees, a tie is positive, a trim is over the whole tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Method = Literal["soup", "task-arithmetic", "ties", "dare", "dare-ties", "slerp"]
Convention = Literal["weighted", "counted"]
METHODS: tuple[Method, ...] = ("soup", "task-arithmetic", "ties", "dare", "dare-ties", "slerp")
_COLINEAR = 0.9995  # mergekit's threshold, beyond which a great circle is a straight line to float precision


@dataclass(frozen=True)
class Recipe:
    """How to merge. `weights` is one a model; `density` the share of entries that ties and dare keep; `amount` the
    factor lam on the merged update; `t` where slerp stops between the first model (0) and the second (1)."""

    method: Method
    weights: tuple[float, ...]
    density: float = 0.5
    amount: float = 1.0
    t: float = 0.5
    convention: Convention = "weighted"
    seed: int = 0


def merged_update(recipe: Recipe, updates: Sequence[torch.Tensor], generator: torch.Generator) -> torch.Tensor:
    """The update of the merged model from those of the others, in float32; `generator` draws what dare drops."""
    taus = [tau.float() for tau in updates]
    if recipe.method == "soup":
        return weighted_sum(taus, recipe.weights) / sum(recipe.weights)
    if recipe.method == "slerp":
        return slerp(taus[0], taus[1], recipe.t)
    if recipe.method in ("dare", "dare-ties"):
        taus = [dare(tau, recipe.density, generator) for tau in taus]
    if recipe.method == "ties":
        taus = [trim(tau, recipe.density) for tau in taus]
    if recipe.method in ("ties", "dare-ties"):
        return recipe.amount * agreed(taus, recipe.weights, recipe.convention)
    return recipe.amount * weighted_sum(taus, recipe.weights)


def merged_weight(
    recipe: Recipe, base: torch.Tensor, others: Sequence[torch.Tensor], generator: torch.Generator
) -> tuple[torch.Tensor, int, int]:
    """The merged tensor in the base's type, how many of its entries should have moved, and how many of those the cast
    swallowed. Slerp turns the weights themselves; all else works on differences to the base."""
    wide = base.float()
    if recipe.method == "slerp":
        result = slerp(others[0].float(), others[1].float(), recipe.t)
    else:
        result = wide + merged_update(recipe, [other.float() - wide for other in others], generator)
    cast = result.to(base.dtype)
    moved = result != wide
    return cast, int(moved.sum()), int((moved & (cast == base)).sum())


def weighted_sum(tensors: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """sum w_i tau_i."""
    total = tensors[0] * weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        total = total + weight * tensor
    return total


def trim(tau: torch.Tensor, density: float) -> torch.Tensor:
    """The int(density * n) entries of largest magnitude, the others zero."""
    import torch

    keep = int(density * tau.numel())
    if keep == 0:
        return torch.zeros_like(tau)
    flat = tau.flatten()
    chosen = flat.abs().topk(keep).indices
    return torch.zeros_like(flat).scatter(0, chosen, flat[chosen]).view_as(tau)


def agreed(taus: Sequence[torch.Tensor], weights: Sequence[float], convention: Convention) -> torch.Tensor:
    """The elected sign's mean, entry by entry; zero where no entry agrees."""
    import torch

    stack = torch.stack(list(taus))
    factor = torch.tensor(weights, dtype=stack.dtype, device=stack.device).view(-1, *[1] * taus[0].ndim)
    weighted = stack * factor
    sign = torch.where((weighted if convention == "weighted" else stack).sum(0) >= 0, 1.0, -1.0)
    agrees = ((stack.sign() * sign) > 0).to(stack.dtype)
    divisor = (agrees * (factor if convention == "weighted" else 1.0)).sum(0)
    total = (weighted * agrees).sum(0)
    return torch.where(divisor == 0, torch.zeros_like(total), total / torch.where(divisor == 0, 1.0, divisor))


def dare(tau: torch.Tensor, density: float, generator: torch.Generator) -> torch.Tensor:
    """Every entry kept with probability `density` and divided by it: the expectation is tau."""
    import torch

    if density >= 1.0:
        return tau
    kept = torch.rand(tau.shape, generator=generator) < density
    return torch.where(kept.to(tau.device), tau / density, torch.zeros_like(tau))


def slerp(a: torch.Tensor, b: torch.Tensor, t: float) -> torch.Tensor:
    """sin((1 - t) h) / sin h a + sin(t h) / sin h b with h the angle between the flattened tensors.

    Straight interpolation where they are nearly colinear or one is zero; ValueError where they are opposite, as there
    is no one great circle then.
    """
    norms = float(a.norm()) * float(b.norm())
    if norms == 0.0:
        return (1 - t) * a + t * b
    cosine = float((a * b).sum()) / norms
    if cosine < -_COLINEAR:
        raise ValueError("two opposite tensors have no shortest way between them")
    if cosine > _COLINEAR:
        return (1 - t) * a + t * b
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    return (math.sin((1 - t) * angle) * a + math.sin(t * angle) * b) / math.sin(angle)
