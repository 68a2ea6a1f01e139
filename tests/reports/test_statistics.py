"""Intervals that cover what they promise, tests that agree with SciPy where both apply, and honest ranks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reports.statistics import (
    Matrix,
    estimate,
    holm,
    seeds_needed,
    seeds_needed_for_spread,
    spread_ratio,
)


def draw(rng: np.random.Generator, seeds: int, items: int, of_seed: float, of_item: float, rest: float) -> Matrix:
    return rng.normal(0, of_seed, (seeds, 1)) + rng.normal(0, of_item, (1, items)) + rng.normal(0, rest, (seeds, items))


@pytest.mark.parametrize(
    ("seeds", "items", "of_seed", "of_item", "rest"),
    [
        (3, 200, 0.0, 0.2, 0.5),
        (3, 200, 0.02, 0.2, 0.2),
        (3, 200, 0.05, 0.2, 0.2),
        (3, 200, 0.05, 0.2, 0.5),
        (3, 200, 0.1, 0.1, 0.3),
        (5, 200, 0.03, 0.2, 0.4),
        (8, 100, 0.05, 0.0, 0.3),
    ],
)
def test_intervals_cover_the_truth(seeds: int, items: int, of_seed: float, of_item: float, rest: float) -> None:
    rng = np.random.default_rng(0)
    rounds = 2000
    drawn = [draw(rng, seeds, items, of_seed, of_item, rest) for _ in range(rounds)]
    found = [estimate(scores) for scores in drawn]
    covered = sum(e.low <= 0 <= e.high for e in found) / rounds
    assert 0.935 <= covered <= 0.99  # 95% or more, less three standard errors of the simulation
    assert all(e.p >= 0.05 for e in found if e.low <= 0 <= e.high)
    assert sum(e.p < 0.05 for e in found) / rounds >= 1 - covered - 0.025
    assert [e.p < 0.05 for e in found] == [abs(scores.mean()) > least_found(scores) for scores in drawn]


def least_found(scores: Matrix) -> float:
    """The mean that is just found at 5%: sqrt(t(S-1)^2 V_seeds + t(I-1)^2 V_items), the mean squares written out."""
    seeds, items = scores.shape
    of_seeds, of_items = scores.mean(1, keepdims=True), scores.mean(0, keepdims=True)
    rest = ((scores - of_seeds - of_items + scores.mean()) ** 2).sum() / ((seeds - 1) * (items - 1))
    seeds_square, items_square = items * of_seeds.var(ddof=1), seeds * of_items.var(ddof=1)
    parts = [(seeds - 1, seeds_square), (items - 1, max(items_square - rest, 0.0))]
    return float(np.sqrt(sum(stats.t.ppf(0.975, degrees) ** 2 * square / scores.size for degrees, square in parts)))


def test_a_two_way_percentile_bootstrap_would_not_cover() -> None:
    """Why there is no bootstrap here: with three seeds that differ, its 95% interval holds the truth too seldom."""
    rng = np.random.default_rng(0)
    covered, rounds = 0, 200
    for _ in range(rounds):
        scores = draw(rng, 3, 100, 0.1, 0.1, 0.3)
        rows, columns = rng.integers(3, size=(300, 3)), rng.integers(100, size=(300, 100))
        means = [scores[np.ix_(r, c)].mean() for r, c in zip(rows, columns, strict=True)]
        low, high = np.quantile(means, [0.025, 0.975])
        covered += low <= 0 <= high
    assert covered / rounds < 0.92


def test_one_seed_is_the_t_test_over_items() -> None:
    scores = np.random.default_rng(1).random((1, 50)) - 0.4
    found = estimate(scores)
    reference = stats.ttest_1samp(scores[0], 0.0)
    assert found.p == pytest.approx(reference.pvalue)
    low, high = reference.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_seeds_that_repeat_each_other_do_not_narrow_the_interval() -> None:
    one = (np.random.default_rng(2).random((1, 80)) < 0.3).astype(float)
    alone, three = estimate(one), estimate(np.repeat(one, 3, axis=0))
    assert three.mean == pytest.approx(alone.mean)
    assert three.high - three.low == pytest.approx(alone.high - alone.low, rel=1e-6)


def test_seeds_that_differ_widen_it() -> None:
    rng = np.random.default_rng(3)
    steady = estimate(draw(rng, 3, 100, 0.0, 0.1, 0.3))
    unsteady = estimate(draw(rng, 3, 100, 0.3, 0.1, 0.3))
    assert unsteady.high - unsteady.low > 3 * (steady.high - steady.low)


def test_equal_scores_have_no_difference_and_no_interval() -> None:
    found = estimate(np.zeros((3, 10)))
    assert (found.mean, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_holm_is_the_step_down_rule() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_seeds_that_agree_by_chance_are_not_certain() -> None:
    """One right answer more on every seed, on another question each time: not the same as one that all seeds have."""
    by_chance, all_agree = np.zeros((3, 20)), np.zeros((3, 20))
    by_chance[[0, 1, 2], [4, 9, 15]] = 1
    all_agree[:, 4] = 1
    assert estimate(by_chance).mean == estimate(all_agree).mean
    assert estimate(by_chance).low < 0 < estimate(by_chance).p and estimate(by_chance).p > 0.05
    assert estimate(all_agree).p > 0.05
    draws = np.random.default_rng(0).random((4000, 3, 100))
    found = [estimate((one < 0.02).astype(float) - (one > 0.98)).p for one in draws]
    assert np.mean(np.array(found) < 0.05) < 0.06 and np.mean(np.array(found) < 0.05 / 300) < 0.001


def test_a_difference_on_every_item_is_as_sure_as_a_sign_test() -> None:
    assert [estimate(np.ones((3, items))).p for items in (2, 5, 11)] == [0.5, 0.0625, 2.0**-10]


def test_the_detectable_difference_is_found_in_four_of_five() -> None:
    rng = np.random.default_rng(4)
    expected = np.median([estimate(rng.normal(0, 0.1, (1, 20))).detectable for _ in range(500)])
    rounds = 4000
    found = sum(stats.ttest_1samp(rng.normal(expected, 0.1, 20), 0.0).pvalue < 0.05 for _ in range(rounds))
    assert found / rounds == pytest.approx(0.8, abs=0.04)


def test_the_ratio_of_two_spreads_is_the_f_test() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(1000):
        first, second = rng.normal(0, 2.0, 6), rng.normal(0, 1.0, 6)
        found = spread_ratio(first, second)
        assert found is not None
        covered += found.low <= np.log(2.0) <= found.high
    assert 0.93 <= covered / 1000 <= 0.97
    ratio = first.var(ddof=1) / second.var(ddof=1)
    p = 2 * min(stats.f.sf(ratio, 5, 5), stats.f.cdf(ratio, 5, 5))
    assert found.p == pytest.approx(p) and found.mean == pytest.approx(np.log(np.sqrt(ratio)))
    assert spread_ratio(np.ones(4), second) is None


def test_the_seeds_that_a_spread_ratio_takes_give_that_power() -> None:
    seeds = seeds_needed_for_spread(np.log(3.0))
    assert seeds is not None
    rng = np.random.default_rng(6)
    found = [spread_ratio(rng.normal(0, 3, seeds), rng.normal(0, 1, seeds)) for _ in range(1000)]
    assert 0.76 <= sum(e is not None and e.low > 0 for e in found) / 1000 <= 0.86


def test_the_seeds_that_a_difference_takes_make_it_detectable() -> None:
    rng = np.random.default_rng(7)
    scores = draw(rng, 4, 200, 0.05, 0.02, 0.3)
    here = estimate(scores).detectable
    assert seeds_needed(scores, here) == 4
    more = seeds_needed(scores, here / 2)
    assert more is not None and more > 8
    assert seeds_needed(scores, 1e-4) is None  # the questions alone vary by more than that
