"""Aggregates over tasks against SciPy, and the bootstrap against what it must do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.coverage import across
from reports.aggregates import (
    bootstrapped,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    profile_band,
    resampled,
)

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.normal(1.0, 1.0, (5, 4)), RNG.normal(0.0, 1.0, (6, 4))


def test_the_interquartile_mean_is_scipys() -> None:
    assert interquartile_mean(FIRST) == pytest.approx(stats.trim_mean(FIRST, 0.25, axis=None))
    many = resampled(FIRST, 7)
    assert interquartile_mean(many) == pytest.approx([stats.trim_mean(one, 0.25, axis=None) for one in many])


def test_an_outlier_does_not_move_it() -> None:
    with_outlier = FIRST.copy()
    with_outlier[FIRST.argmax() // 4, FIRST.argmax() % 4] = 1e6
    assert interquartile_mean(with_outlier) == pytest.approx(interquartile_mean(FIRST))


def test_the_probability_of_improvement_is_mann_whitneys_u() -> None:
    each = [stats.mannwhitneyu(x, y).statistic / (x.size * y.size) for x, y in zip(FIRST.T, SECOND.T, strict=True)]
    assert probability_of_improvement(FIRST, SECOND) == pytest.approx(np.mean(each))
    assert probability_of_improvement(FIRST, FIRST) == pytest.approx(0.5)
    assert probability_of_improvement(np.ones((3, 2)), np.ones((4, 2))) == 0.5


def test_a_profile_is_one_minus_the_distribution_function() -> None:
    taus = np.linspace(-3, 3, 13)
    reference = 1 - stats.ecdf(FIRST.ravel()).cdf.evaluate(taus)
    assert performance_profile(FIRST, taus) == pytest.approx(reference)
    line, low, high = profile_band(FIRST, taus)
    assert (low <= line + 1e-12).all() and (line <= high + 1e-12).all()


def test_every_task_is_resampled_by_itself() -> None:
    """Runs of a task never land in another one, and its rows are drawn apart from the others' rows."""
    tagged = np.arange(4)[None, :] * 10.0 + np.arange(5)[:, None]
    drawn = resampled(tagged, 50)
    assert drawn.shape == (50, 5, 4) and (drawn // 10 == np.arange(4)).all()
    assert any(len({tuple(column % 10) for column in one.T}) > 1 for one in drawn)


def test_the_interval_is_the_same_every_time_and_as_wide_as_that_of_t() -> None:
    """The mean of many runs has a normal bootstrap: expanded, its interval is the t interval of the stratified mean."""
    one, again = bootstrapped(interquartile_mean, FIRST), bootstrapped(interquartile_mean, FIRST)
    assert one == again and one.low < one.value < one.high
    scores = np.random.default_rng(1).normal(size=(12, 5))
    found = bootstrapped(lambda drawn: drawn.mean(axis=(-2, -1)), scores)
    error = np.sqrt((scores.var(axis=0, ddof=1) / 12).sum()) / 5
    half = stats.t.isf(0.025, 5 * 11) * error
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.05)


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_covers_with_few_runs(seeds: int) -> None:
    rounds = 150
    assert across(seeds, 4, rounds) >= 0.95 - 3 * (0.95 * 0.05 / rounds) ** 0.5
