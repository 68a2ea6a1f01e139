"""Perturbations and their updates (oracles 3, 4, 12 to 15): low rank, mirrored, tied, and sums as stacked products."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special, stats

from harness.engines.layout import LowRank
from methods.optimisers.perturbation import Kind, Perturbation
from methods.optimisers.shaping import coefficients

SHAPES = {"a": torch.Size([24, 16]), "b": torch.Size([24, 16]), "bias": torch.Size([24]), "c": torch.Size([8, 6])}
CPU = torch.device("cpu")


def perturbation(kind: Kind = "low-rank", population: int = 6, **settings: object) -> Perturbation:
    return Perturbation(1, SHAPES, population, kind, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("rank", [1, 3])
def test_low_rank_noise_has_the_variance_and_kurtosis_of_its_rank(rank: int) -> None:
    """Oracle 3: entries of A B^T / sqrt(r) have variance 1 and kurtosis 3 + 6 / r."""
    search = Perturbation(0, {"m": torch.Size([300, 200])}, 40, "low-rank", rank)
    entries = torch.cat([search.eps(factor, "m", CPU)[::7, ::7].flatten() for factor in range(40)]).numpy()
    assert entries.mean() == pytest.approx(0, abs=0.02)
    assert entries.var() == pytest.approx(1, abs=0.05)
    assert stats.kurtosis(entries) == pytest.approx(6 / rank, rel=0.3)
    assert torch.linalg.matrix_rank(search.eps(0, "m", CPU)) == rank


@pytest.mark.parametrize("kind", ["gaussian", "tied", "low-rank"])
def test_mirror_images_are_exact(kind: Kind) -> None:
    """Oracle 4: theta + sigma eps and theta - sigma eps; equal rewards within pairs cancel to exactly nothing."""
    search = perturbation(kind, mirrored=True)
    master = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    own = search.members(master, 0.5, [0, 1, 2, 3], master)
    for tensor in own.values():
        dense = tensor.dense(4) if isinstance(tensor, LowRank) else tensor
        assert dense[0].any() and torch.equal(dense[0::2], -dense[1::2]) and not torch.equal(dense[0], dense[2])
    even = coefficients(np.array([[1.0], [1.0], [0.3], [0.3], [7.0], [7.0]]), "z")
    for _, total in search.total(even, list(SHAPES), CPU):
        assert not total.any()


def test_tied_noise_is_shared_by_equal_shapes_only() -> None:
    search = perturbation("tied")
    assert torch.equal(search.eps(0, "a", CPU), search.eps(0, "b", CPU))
    assert not torch.equal(search.eps(0, "a", CPU), search.eps(1, "a", CPU))
    free = perturbation("gaussian")
    assert not torch.equal(free.eps(0, "a", CPU), free.eps(0, "b", CPU))


@pytest.mark.parametrize("kind", ["gaussian", "tied", "low-rank"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_update_is_the_dense_sum_over_what_members_are(kind: Kind, mirrored: bool) -> None:
    """Oracle 14: stacked products equal the loop over members in float64, and members are what is summed."""
    search = perturbation(kind, rank=2, mirrored=mirrored)
    search.begin(3)
    master = {name: torch.randn(shape, generator=torch.Generator().manual_seed(0)) for name, shape in SHAPES.items()}
    own = search.members(master, 1.0, range(6), master)
    weights = np.random.default_rng(0).normal(size=6)
    for name, total in search.total(weights, list(SHAPES), CPU):
        tensor = own[name]
        eps = tensor.dense(6) if isinstance(tensor, LowRank) else tensor - master[name]
        expected = sum(weight * one.double() for weight, one in zip(weights, eps, strict=True))
        torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=1e-5)
        if kind == "low-rank" and total.ndim == 2:
            assert torch.linalg.matrix_rank(total) == min(2 * search.factors, *total.shape)


def test_noise_kept_and_noise_drawn_again_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bank that does not hold the generation changes nothing, bit for bit."""
    weights = np.random.default_rng(0).normal(size=6)
    kept = dict(perturbation().total(weights, list(SHAPES), CPU))
    monkeypatch.setattr("methods.optimisers.perturbation.NOISE_BYTES", 0)
    search = perturbation()
    again = dict(search.total(weights, list(SHAPES), CPU))
    assert not search._bank and all(torch.equal(kept[name], again[name]) for name in SHAPES)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_low_rank_inflates_the_variance_by_the_known_factor(rank: int) -> None:
    """Oracle 15: unbiased on a linear fitness; the variance of <G, E> E over |G|^2 of each entry is the formula's."""
    rows, columns, draws = 8, 6, 400_000
    search = Perturbation(2, {"m": torch.Size([rows, columns])}, 1, "low-rank", rank)
    up = search.noise.normal(0, 0, "m/A", (draws, rows, rank))
    down = search.noise.normal(1, 0, "m/B", (draws, columns, rank))
    eps = torch.einsum("dor,dir->doi", up, down) / np.sqrt(rank)
    gradient = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    estimate = (eps * gradient).sum((1, 2), keepdim=True) * eps
    mean = estimate.mean(0)
    assert float((mean * gradient).sum() / (mean.norm() * gradient.norm())) > 0.98
    size = rows * columns
    variance = float(estimate.square().sum((1, 2)).mean()) / float(gradient.square().sum()) - 1
    inflation = 1 + 2 / rank * (1 / rows + 1 / columns) + (1 + 2 / rank) / size
    assert variance / size == pytest.approx(inflation, rel=0.03)


def test_a_linear_reward_under_tied_noise_is_climbed_along_the_sum() -> None:
    """Oracle 12, and what tied noise does to it: i.i.d. noise climbs g at alpha c_N, tied noise the tensors' sum."""
    shapes = {"a": torch.Size([3, 2]), "b": torch.Size([3, 2])}
    gradient = {"a": torch.tensor([[1.0, 0], [0, 0], [0, 0]]), "b": torch.tensor([[0.0, 1], [0, 0], [0, 0]])}
    members, rounds = 30, 400
    norm = np.sqrt(2.0)
    for kind in ("gaussian", "tied"):
        search = Perturbation(3, shapes, members, kind)  # type: ignore[arg-type]
        mean = {name: torch.zeros(shape) for name, shape in shapes.items()}
        for iteration in range(rounds):
            search.begin(iteration)
            fitness = [
                float(sum((search.eps(n, name, CPU) * gradient[name]).sum() for name in shapes)) for n in range(members)
            ]
            weights = coefficients(np.array(fitness)[:, None], "z")
            for name, total in search.total(weights, list(shapes), CPU):
                mean[name] += total / members / rounds
        along = float(sum((mean[name] * gradient[name]).sum() for name in shapes)) / norm
        c_n = np.sqrt(2 / members) * np.exp(special.gammaln(members / 2) - special.gammaln((members - 1) / 2))
        cosine = along / float(torch.cat([one.flatten() for one in mean.values()]).norm())
        if kind == "gaussian":
            assert along == pytest.approx(c_n, rel=0.05) and cosine > 0.98
        else:
            assert torch.equal(mean["a"], mean["b"]) and cosine < 0.75
