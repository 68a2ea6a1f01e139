"""Intervals, tests and the control of many tests on answers whose true rates are known; the full one is a benchmark."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from benchmarks.coverage import World, accuracy, draw, family, level, little, paired, single
from benchmarks.pooled_variance import measure, variances
from reports.statistics import Matrix, estimate, holm, proportion

ROUNDS = 1000
ERROR = 3 * (0.95 * 0.05 / ROUNDS) ** 0.5
"""Three standard errors of a simulated coverage."""


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(("of_seed", "gain"), [(0.0, 0.0), (0.3, 0.0), (0.3, 0.1)])
def test_paired_differences_cover_and_keep_their_level(seeds: int, of_seed: float, gain: float) -> None:
    covered = paired(World(seeds, 100, of_seed=of_seed), ROUNDS, gain)
    assert 0.93 <= covered <= 0.97 + ERROR


@pytest.mark.parametrize("seeds", [3, 10])
@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_accuracies_cover_also_near_zero(seeds: int, rate: float) -> None:
    assert 0.93 <= single(World(seeds, 100, rate), ROUNDS) <= 0.97 + ERROR


@pytest.mark.parametrize("better", [0, 3])
def test_holm_keeps_the_familywise_rate(better: int) -> None:
    rounds = 200
    assert family(World(3, 100), 6, rounds, better) <= 0.05 + 3 * (0.05 * 0.95 / rounds) ** 0.5


@pytest.mark.parametrize(("items", "rate"), [(100, 0.02), (500, 0.005)])
def test_holm_keeps_it_too_where_methods_hardly_move(items: int, rate: float) -> None:
    """Seeds then often agree to the last answer: with a variance of zero for that, a quarter of sweeps would err."""
    rounds = 200
    assert little(items, rate, 6, rounds) <= 0.05 + 3 * (0.05 * 0.95 / rounds) ** 0.5


@pytest.mark.parametrize("share", [1.0, 0.95, 0.8, 0.3])
def test_small_p_values_are_as_rare_as_they_say(share: float) -> None:
    """As Holm needs them over many pairs: with three seeds, and the share of the variance that is the seeds'."""
    rng, seeds, items, rounds, small = np.random.default_rng(0), 3, 40, 6000, 0.05 / 28
    found = 0
    for _ in range(rounds):
        of_seed = rng.normal(0, (share * seeds) ** 0.5, (seeds, 1))
        scores = of_seed + rng.normal(0, ((1 - share) * items) ** 0.5, (1, items)) + rng.normal(0, 0.01, (seeds, items))
        found += estimate(scores).p < small
    assert found / rounds <= small + 3 * (small / rounds) ** 0.5


def test_a_variance_pooled_over_methods_does_not_cover_where_spreads_differ() -> None:
    """Why every pair has its own: seeds of one method scatter thrice as far, and its intervals are too short."""
    rows = {row["way"]: row for row in measure("one method thrice", 12, 3, 300)}
    assert rows["own"]["worst"] > 0.90 and rows["own"]["wrong"] < 0.09
    assert rows["pooled"]["worst"] < 0.80 and rows["moderated"]["worst"] < 0.85
    assert rows["pooled"]["wrong"] > 0.09


def test_the_variances_that_are_compared_are_what_they_say() -> None:
    means = np.random.default_rng(0).normal(size=(5, 4))
    found = variances(means)
    reference = stats.ttest_rel(means[0], means[1])
    variance, degrees = found["own"][0][0], found["own"][1]
    assert (means[0] - means[1]).mean() / np.sqrt(variance / 4) == pytest.approx(reference.statistic)
    assert degrees == reference.df and found["pooled"][1] == 15
    assert found["pooled"][0][0] == pytest.approx(2 * stats.f_oneway(*means).statistic ** -1 * _between(means))


def _between(means: Matrix) -> float:
    """The mean square between methods."""
    return float(means.shape[1] * means.mean(axis=1).var(ddof=1))


def test_the_simulated_truth_is_the_truth() -> None:
    world = World(50, 400, 0.2)
    at = level(world, 0.2)
    assert accuracy(world, at) == pytest.approx(0.2)
    rng = np.random.default_rng(1)
    assert np.mean([draw(rng, world, [at]).mean() for _ in range(40)]) == pytest.approx(0.2, abs=0.01)


def test_without_items_that_differ_it_is_the_t_test_over_seeds() -> None:
    scores = np.random.default_rng(2).normal(size=(4, 1)) + np.zeros((4, 30))
    found, reference = estimate(scores), stats.ttest_1samp(scores[:, 0], 0.0)
    assert found.p == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval(0.95)))


def test_the_mean_squares_are_those_of_least_squares() -> None:
    """Fitted with dummies for seeds and items; the quantiles of the two parts then make Cochran's interval."""
    seeds, items = 4, 12
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(seeds, 1)) + rng.normal(size=(1, items)) + 0.5 * rng.normal(size=(seeds, items))
    rows, columns = np.indices((seeds, items)).reshape(2, -1)

    def left(*groups: Matrix) -> float:
        design = np.column_stack([np.ones(scores.size), *groups])
        fitted = design @ np.linalg.lstsq(design, scores.ravel(), rcond=None)[0]
        return float(((scores.ravel() - fitted) ** 2).sum())

    by_seed, by_item = np.eye(seeds)[rows], np.eye(items)[columns]
    rest = left(by_seed, by_item)
    of_seeds, of_items = (left(by_item) - rest) / (seeds - 1), (left(by_seed) - rest) / (items - 1)
    parts = of_seeds, of_items - rest / ((seeds - 1) * (items - 1))
    weighted = sum(part * stats.t.isf(0.025, n - 1) for part, n in zip(parts, (seeds, items), strict=True))
    half = weighted / np.sqrt(sum(parts)) / np.sqrt(seeds * items)
    found = estimate(scores)
    assert (found.high - found.low) / 2 == pytest.approx(half)


def test_an_accuracy_is_wilsons_interval_where_there_is_one_seed_and_many_items() -> None:
    scores = (np.random.default_rng(4).random((1, 4000)) < 0.03).astype(float)
    reference = stats.binomtest(int(scores.sum()), 4000).proportion_ci(method="wilson")
    found = proportion(scores)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), rel=2e-3)


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_an_accuracy_of_none_or_all_is_still_uncertain(right: float) -> None:
    found = proportion(np.full((3, 200), right))
    reference = stats.binomtest(int(200 * right), 200).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-3)


def test_holm_is_the_closure_of_bonferroni() -> None:
    """A p-value is adjusted to the largest that any hypothesis it belongs to gets (Marcus et al. 1976)."""
    values = list(np.random.default_rng(5).random(6) ** 3)
    sets = [chosen for size in range(1, 7) for chosen in combinations(range(6), size)]
    closed = [
        max(min(1.0, len(chosen) * min(values[i] for i in chosen)) for chosen in sets if place in chosen)
        for place in range(6)
    ]
    assert holm(values) == pytest.approx(closed)
