"""Shaping and learning-rate conventions (oracles 8 to 11 of evolution strategies)."""

from __future__ import annotations

import numpy as np
import pytest

from methods.optimisers import conventions
from methods.optimisers.shaping import coefficients

EVERY = ["z", "centred", "centred-rank", "pair-sign", "per-prompt"]
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shaping", EVERY)
@pytest.mark.parametrize("value", [0.0, 0.06, 0.1, 1 / 3, -2.0])
def test_a_population_of_equals_gets_exact_zeros(shaping: str, value: float) -> None:
    """Oracle 8, also for float32 input and for the same rewards on other questions."""
    scores = np.full((30, 7), np.float32(value)).astype(np.float64)
    assert not coefficients(scores, shaping).any()  # type: ignore[arg-type]
    if shaping != "per-prompt":
        shuffled = np.stack([RNG.permutation([0.1, 0.2, 0.3, 1.1]) for _ in range(8)])
        assert not coefficients(shuffled, shaping).any()  # type: ignore[arg-type]


@pytest.mark.parametrize("shaping", EVERY)
@pytest.mark.parametrize(("scale", "shift"), [(3.0, 0.0), (1.0, -7.0), (1e-3, 5.0)])
def test_units_of_the_reward_do_not_count(shaping: str, scale: float, shift: float) -> None:
    """Oracle 9; centred rewards keep their scale, which is their point."""
    scores = RNG.random((8, 5))
    expected = coefficients(scores, shaping) * (scale if shaping == "centred" else 1.0)  # type: ignore[arg-type]
    np.testing.assert_allclose(coefficients(scale * scores + shift, shaping), expected, atol=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize("shaping", [name for name in EVERY if name != "pair-sign"])
def test_the_order_of_members_does_not_count(shaping: str) -> None:
    scores, order = RNG.random((9, 4)), RNG.permutation(9)
    np.testing.assert_allclose(coefficients(scores[order], shaping), coefficients(scores, shaping)[order], atol=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("shaping", EVERY)
def test_coefficients_sum_to_zero(shaping: str) -> None:
    assert coefficients(RNG.integers(0, 3, (12, 3)).astype(float), shaping).sum() == pytest.approx(0, abs=1e-9)  # type: ignore[arg-type]


def test_z_scores_of_two_are_one_and_minus_one() -> None:
    """Oracle 10, however small the gap."""
    for gap in (1e-6, 1.0, 100.0):
        np.testing.assert_allclose(coefficients(np.array([[0.0], [gap]]), "z"), [-1.0, 1.0])


def test_ranks_average_ties() -> None:
    """Oracle 10: 1, 2, 2, 7 -> ranks 1, 2.5, 2.5, 4 -> -1/2, 0, 0, 1/2."""
    np.testing.assert_allclose(coefficients(np.array([[1.0], [2.0], [7.0], [2.0]]), "centred-rank"), [-0.5, 0, 0.5, 0])


def test_signs_are_of_pairs() -> None:
    found = coefficients(np.array([[1.0], [3.0], [2.0], [2.0], [9.0], [0.0]]), "pair-sign")
    assert found.tolist() == [-1.0, 1.0, 0.0, 0.0, 1.0, -1.0]


def test_prompts_are_centred_and_scaled_together() -> None:
    """Oracle 11: an offset of one prompt changes nothing; one global deviation, so easy prompts are not blown up."""
    scores = RNG.random((6, 4)) * np.array([0.01, 1.0, 2.0, 3.0])
    found = coefficients(scores, "per-prompt")
    offset = scores + np.array([0.0, 100.0, -3.0, 0.0])
    np.testing.assert_allclose(coefficients(offset, "per-prompt"), found, atol=1e-9)
    centred = scores - scores.mean(0)
    np.testing.assert_allclose(found, centred.mean(1) / centred.std(), atol=1e-12)
    easy = scores.copy()
    easy[:, 0] = 1.0  # a prompt that everybody solves says nothing
    rest = coefficients(easy, "per-prompt")
    assert np.corrcoef(rest, (easy[:, 1:] - easy[:, 1:].mean(0)).mean(1))[0, 1] == pytest.approx(1.0)


def test_conventions_convert_there_and_back() -> None:
    """Each against its own formula on one and the same generation, and its inverse."""
    sigma, population, rate = 0.02, 16, 0.3
    rewards, eps = RNG.random(population), RNG.normal(size=(population, 5))

    def ours(alpha: float) -> np.ndarray:
        return alpha / population * rewards @ eps

    textbook = rate / (population * sigma) * rewards @ eps
    np.testing.assert_allclose(ours(conventions.alpha_of_textbook(rate, sigma)), textbook)
    eggroll = rate * sigma / np.sqrt(population) * rewards @ eps
    np.testing.assert_allclose(ours(conventions.alpha_of_eggroll_code(rate, sigma, population)), eggroll)
    assert conventions.textbook_of_alpha(conventions.alpha_of_textbook(rate, sigma), sigma) == pytest.approx(rate)
    there = conventions.alpha_of_eggroll_code(rate, sigma, population)
    assert conventions.eggroll_code_of_alpha(there, sigma, population) == pytest.approx(rate)
    assert conventions.step_ratio_of_alpha(conventions.alpha_of_step_ratio(0.5, sigma), sigma) == pytest.approx(0.5)
    assert conventions.alpha_of_step_ratio(0.5, 1e-3) == pytest.approx(5e-4)  # the pairing of arXiv 2509.24372
    assert conventions.alpha_of_eggroll_code(0.125, 7e-4, 256) == pytest.approx(2.0 * 7e-4)  # the recipe's ratio
