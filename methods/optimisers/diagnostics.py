"""What tells whether a search is sound: realised against intended perturbation, steps against a random walk.

With rewards that say nothing, a step sum_n c_n eps_n alpha / N has the norm alpha sqrt(d sum c^2) / N, which is
alpha sqrt(d / N) for z-scores, and the squares of steps add up: |theta_T - theta_0| = alpha sqrt(d T / N) (Qiu et al.
2025, arXiv 2509.24372, appendix A.7 in our notation). A search whose drift stays at ratio 1 has moved by noise alone;
how much it has learnt cannot be seen in its norm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from methods.optimisers.perturbation import Perturbation

_SAMPLE = 1 << 14  # entries of a tensor that are followed; a larger one is sampled evenly


class Walk:
    """Follows the weights from where they started, on a sample of every tensor."""

    def __init__(self, master: Mapping[str, torch.Tensor]) -> None:
        self._start = {name: _sample(tensor).clone() for name, tensor in master.items()}
        self.expected = 0.0
        """Square of the norm that pure noise would have reached."""

    def values(
        self,
        master: Mapping[str, torch.Tensor],
        update: Mapping[str, torch.Tensor],
        names: Sequence[str],
        weights: np.ndarray,
        alpha: float,
        mirrored: bool,
    ) -> dict[str, float]:
        """Norm of the step and of all steps so far, and each as a share of the random walk's (absent while it is 0)."""
        norm = math.sqrt(sum(float(part.double().square().sum()) for part in update.values()))
        drawn = weights if not mirrored else weights[0::2] - weights[1::2]
        size = sum(master[name].numel() for name in names)
        law = alpha / len(weights) * math.sqrt(size * float(np.square(drawn).sum()))
        self.expected += law**2
        drift = self.drift(master)
        found = {"update_norm": norm, "drift": drift}
        if law:
            found["update_to_random_walk"] = norm / law
        if self.expected:
            found["drift_to_random_walk"] = drift / math.sqrt(self.expected)
        return found

    def drift(self, master: Mapping[str, torch.Tensor]) -> float:
        """|theta - theta_0|, exact for tensors of up to 16,384 entries and estimated from as many of larger ones."""
        total = 0.0
        for name, start in self._start.items():
            moved = (_sample(master[name]) - start).double().square().sum()
            total += float(moved) * master[name].numel() / start.numel()
        return math.sqrt(total)


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().flatten()
    return flat[:: -(-len(flat) // _SAMPLE)]


def pair_values(fitness: np.ndarray) -> dict[str, float]:
    """Of mirrored pairs: the share whose two members score the same, and the correlation between the two."""
    plus, minus = fitness[0::2], fitness[1::2]
    found = {"identical_pairs": float((plus == minus).mean())}
    if plus.std() > 0 and minus.std() > 0:
        found["pair_correlation"] = float(np.corrcoef(plus, minus)[0, 1])
    return found


def realised(
    search: Perturbation,
    served: Mapping[str, torch.Tensor],
    master: Mapping[str, torch.Tensor],
    names: Sequence[str],
    sigma: float,
) -> dict[str, float]:
    """What the first member's weights really differ by: cosine to what was intended, and share of entries that moved.

    Rounding to 16 bits loses part of a small perturbation; a side path of low rank and float32 weights lose nothing.
    """
    intended, moved = [], []
    for name in names:
        if search.is_low_rank(name) or served[name].dtype == torch.float32:
            continue
        base, noise = _sample(master[name]), _sample(search.eps(0, name, master[name].device))
        intended.append(sigma * noise)
        cast = served[name].dtype
        moved.append((base + sigma * noise).to(cast).float() - base.to(cast).float())
    if not intended:
        return {}
    wanted, got = torch.cat(intended).double(), torch.cat(moved).double()
    length = float(wanted.norm() * got.norm())
    return {
        "perturbation_cosine": float(wanted @ got) / length if length else 0.0,
        "perturbation_moved": float((got != 0).double().mean()),
    }
