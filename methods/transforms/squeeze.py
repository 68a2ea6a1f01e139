"""LoRA-Squeeze: a low-rank update at a lower rank, exactly optimal, without the dense update (arXiv 2602.10993).

Vulic et al. 2026, section 3, algorithm 2: B = Q_B R_B and A^T = Q_A R_A (thin QR), core s R_B R_A^T = U S V^T, an
r x r SVD; keeping the first t directions is the best rank-t update there is (Eckart & Young), its error the root of
the sum of the other S^2. B' = Q_B U S^1/2 / sqrt(s'), A' = S^1/2 V^T Q_A^T / sqrt(s'): both factors get half, as the
paper does not say. All in float64. A direction with S = 0 keeps a row in A', so that it can learn again.
`randomised` is the paper's sketch (10 oversampling, 2 power iterations), of the factors instead of the dense update.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.errors import UserError
from harness.lora_files import LoraAdapter, LowRank

if TYPE_CHECKING:
    import torch

Scale = Literal["keep", "unit"]
"""The new scale: `keep` that of the source (alpha / r as it was), `unit` 1 (alpha = rank)."""
OVERSAMPLING, POWER_ITERATIONS = 10, 2
_DEAD = 1e-12  # relative to the largest singular value
_SINGULAR = 1e-6  # of a triangle's diagonal, relative; rounding in float64 grows by its inverse


@dataclass(frozen=True)
class Squeezed:
    """One module after a squeeze: its new factors, the singular values of the core, and how factors map."""

    module: LowRank
    singular_values: torch.Tensor
    """Of the update, descending, as many as the source's rank (of the sketch, where it is one)."""
    left: torch.Tensor | None = None
    """M with B' = B M, or None where the source's factor is singular."""
    right: torch.Tensor | None = None
    """N with A' = N A."""

    @property
    def kept(self) -> float:
        """Share of the update's squared norm that is kept; 1 for an update that is zero."""
        squares = self.singular_values**2
        total = float(squares.sum())
        return float(squares[: self.module.rank].sum()) / total if total > 0 else 1.0

    @property
    def error(self) -> float:
        """Frobenius norm of what is lost."""
        return float((self.singular_values[self.module.rank :] ** 2).sum().sqrt())


def squeeze(source: LowRank, rank: int | None = None, energy: float | None = None, scale: Scale = "keep") -> Squeezed:
    """The best update of `rank`, or of the smallest rank that keeps a share `energy` of the squared norm.

    Raises ValueError if the rank is above the source's, or unless exactly one of rank and energy is given.
    """
    import torch

    up, down = source.up.double(), source.down.double().T
    r_b, r_a = torch.linalg.qr(up, mode="r").R, torch.linalg.qr(down, mode="r").R
    u, s, vh = torch.linalg.svd(source.scale * r_b @ r_a.T)
    t = chosen_rank(s, source.rank, rank, energy)
    new = source.scale if scale == "keep" else 1.0
    ends = u[:, :t] * (s[:t].sqrt() / new**0.5), vh[:t].T * (_live_halves(s[:t], source) / new**0.5)
    left, right = _solved(r_b, ends[0]), _solved(r_a, ends[1])
    new_up = up @ left if left is not None else torch.linalg.qr(up).Q @ ends[0]
    new_down = down @ right if right is not None else torch.linalg.qr(down).Q @ ends[1]
    module = LowRank(new_up.to(source.up.dtype), new_down.T.to(source.down.dtype).contiguous(), new)
    return Squeezed(module, s, left, None if right is None else right.T)


def squeeze_randomised(source: LowRank, rank: int, generator: torch.Generator, scale: Scale = "keep") -> Squeezed:
    """The paper's randomised SVD of the update, with products of the factors for products of the dense update."""
    import torch

    up, down = source.up.double(), source.down.double()
    width = min(rank + OVERSAMPLING, *_shape(source))
    sketch = torch.randn(down.shape[1], width, generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(up @ (down @ sketch)).Q
    for _ in range(POWER_ITERATIONS):
        basis = torch.linalg.qr(down.T @ (up.T @ basis)).Q
        basis = torch.linalg.qr(up @ (down @ basis)).Q
    u, s, vh = torch.linalg.svd(source.scale * (basis.T @ up) @ down, full_matrices=False)
    new = source.scale if scale == "keep" else 1.0
    half = _live_halves(s[:rank], source)
    module = LowRank(
        (basis @ u[:, :rank] * (s[:rank].sqrt() / new**0.5)).to(source.up.dtype),
        ((half / new**0.5)[:, None] * vh[:rank]).to(source.down.dtype),
        new,
    )
    return Squeezed(module, s[: source.rank])


def squeeze_adapter(
    adapter: LoraAdapter,
    rank: int | None = None,
    energy: float | None = None,
    scale: Scale = "keep",
    seed: int | None = None,
) -> tuple[LoraAdapter, Mapping[str, Squeezed]]:
    """Every module squeezed, and what each lost; with `seed`, by the randomised variant. UserError names a module
    whose rank is below `rank`."""
    from harness.streams import generator

    done = {}
    for name, module in adapter.modules.items():
        if rank is not None and rank > module.rank:
            raise UserError(f"rank {rank} is above the rank of {name!r}, {module.rank}: ask for 1 to {module.rank}.")
        if seed is None:
            done[name] = squeeze(module, rank, energy, scale)
        elif rank is None:
            raise UserError("The randomised squeeze needs a rank: it does not see the whole spectrum.")
        else:
            done[name] = squeeze_randomised(module, rank, generator(seed, name), scale)
    return LoraAdapter({name: one.module for name, one in done.items()}, adapter.config), done


def chosen_rank(singular_values: torch.Tensor, source_rank: int, rank: int | None, energy: float | None) -> int:
    """`rank`, or the smallest number of directions whose share of the squared norm reaches `energy`, at least 1."""
    if (rank is None) == (energy is None):
        raise ValueError("give a rank or an energy, not both")
    if rank is not None:
        if not 1 <= rank <= source_rank:
            raise ValueError(f"rank {rank} is not possible: 1 to {source_rank}")
        return rank
    assert energy is not None
    squares = (singular_values**2).cumsum(0)
    if float(squares[-1]) == 0.0:
        return 1
    reached = squares >= min(energy, 1.0) * squares[-1] * (1 - 1e-12)
    return int(reached.nonzero()[0, 0]) + 1


def _live_halves(s: torch.Tensor, source: LowRank) -> torch.Tensor:
    """S^1/2 for the rows of A', but the length of a row of A where S is zero: B' is zero there and must get a
    gradient."""
    import torch

    rows = float(source.down.double().norm() / source.rank**0.5) * source.scale**0.5
    dead = s <= _DEAD * max(float(s[0]), 1e-300)
    return torch.where(dead, torch.full_like(s, rows if rows > 0 else 1.0), s.sqrt())


def _solved(triangle: torch.Tensor, ends: torch.Tensor) -> torch.Tensor | None:
    """R^-1 ends, so that a new factor is the old one times it and no orthogonal factor has to be formed (Q = B R^-1);
    None where R is too near singular for that."""
    import torch

    diagonal = triangle.diagonal().abs()
    if triangle.shape[0] != triangle.shape[1] or float(diagonal.min()) <= _SINGULAR * float(diagonal.max()):
        return None
    return torch.linalg.solve_triangular(triangle, ends, upper=True)


def _shape(source: LowRank) -> tuple[int, int]:
    return int(source.up.shape[0]), int(source.down.shape[1])
