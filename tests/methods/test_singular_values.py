"""ESSA's search space and CMA-ES (oracles 26 and 28)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.errors import UserError
from methods.optimisers.singular_values import SingularValues, SingularValueSearch, singular_value_search


def factors(rank: int = 4) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return {
        f"layer{layer}.lora_{side}": scale * torch.randn(shape, generator=random)
        for layer in range(3)
        for side, shape, scale in (("A", (rank, 24), 1.0), ("B", (16, rank), 0.01))
    }


def test_no_offset_is_the_adapter_itself() -> None:
    """Oracle 26: U diag(s) V^T rebuilds A and B to 1e-6."""
    tensors = factors()
    space = SingularValues(tensors, 1.0)
    for name, matrix in space.at(np.zeros(space.dimension)):
        torch.testing.assert_close(matrix, tensors[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("fraction", "expected"), [(1.0, 3 * 2 * 4), (0.5, 3 * 2 * 2), (0.01, 3 * 2)])
def test_the_dimension_is_layers_matrices_rank_and_share(fraction: float, expected: int) -> None:
    assert SingularValues(factors(), fraction).dimension == expected


def test_an_offset_moves_its_singular_value_in_its_own_unit_and_nothing_else() -> None:
    tensors = factors()
    space = SingularValues(tensors, 0.5)
    offsets = np.zeros(space.dimension)
    offsets[3] = 0.2  # the second kept value of the second matrix
    moved = dict(space.at(offsets))
    for place, (name, tensor) in enumerate(tensors.items()):
        before, after = torch.linalg.svdvals(tensor.double()), torch.linalg.svdvals(moved[name].double())
        if place == 1:
            expected = before.clone()
            expected[1] += 0.2 * before[0]
            torch.testing.assert_close(after, expected.sort(descending=True).values, rtol=1e-5, atol=1e-7)
        else:
            torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-7)


def test_a_policy_without_matrices_is_refused() -> None:
    with pytest.raises(UserError, match="needs matrices"):
        SingularValues({"scale": torch.ones(4)}, 1.0)


class Plain:
    """A search space that is the vector itself."""

    dimension = 20


def ellipsoid(x: np.ndarray) -> float:
    """Condition number 1e6."""
    return float((10 ** (6 * np.arange(20) / 19) * (x - 0.3) ** 2).sum())


def minimise(search: SingularValueSearch, seed: int, generations: int) -> tuple[float, list[float]]:
    es = search._search(Plain(), seed)  # type: ignore[arg-type]
    best, seen = np.inf, []
    for _ in range(generations):
        candidates = es.ask()
        values = [ellipsoid(candidate) for candidate in candidates]
        es.tell(candidates, values)
        best = min(best, *values)
        seen.append(min(values))
    return best, seen


def test_an_ellipsoid_is_minimised_within_a_known_budget() -> None:
    """Oracle 28: 20 dimensions to 1e-8 in 12 x 1300 evaluations, and the same draws for the same seed alone."""
    search = singular_value_search(sigma=0.5, population=12)
    best, seen = minimise(search, 5, 1300)
    assert best < 1e-8
    np.random.seed(7)
    assert minimise(search, 5, 30)[1] == seen[:30]
    assert minimise(search, 6, 30)[1] != seen[:30]
