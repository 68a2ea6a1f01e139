"""Intervals and tests on a seeds x items matrix of scores.

Seeds and items are both samples: another seed trains another model, another item asks another question. With S seeds
and I items, the variance of the mean has two parts, from the mean squares of the crossed two-way layout,

    V_seeds = MS_seeds / (S I)                    known with S - 1 degrees of freedom,
    V_items = max(MS_items - MS_rest, 0) / (S I)  known with I - 1,

and the half of the 95% interval is (t(S-1) V_seeds + t(I-1) V_items) / sqrt(V_seeds + V_items): the t quantiles
weighted by the variances that they belong to (Cochran & Cox 1950; Cochran 1964, Biometrics 20:191), the t interval
where one part is zero. Far out in the tails, where Holm's adjustment needs them, Cochran's levels are not kept (up to 4
times too many rejections at 0.05 / 300 with three seeds), so p-values, and what a design can detect, go by

    half^2 = t(S-1)^2 V_seeds + t(I-1)^2 V_items,

which is wider and keeps every level (Graybill & Wang 1980; Burdick & Graybill 1992, section 3). Right answers are whole
numbers, so seeds can agree to the last one by chance, though on other items: MS_seeds is then 0 where MS_rest is not,
and MS_rest takes its place, which it would be the mean of if seeds did not differ. A two-way percentile
bootstrap covers too seldom, and so does a variance pooled over methods where their spreads differ:
`benchmarks/coverage.py` and `benchmarks/pooled_variance.py` measure it, `benchmarks/README.md` has the
figures. Nothing here draws a random number, so a report is the same bytes whenever it is written. Several comparisons:
Holm (1979).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

LEVEL = 0.95
_NOTHING = 1e-9
"""A mean square is rounding beside another that is so many times larger."""
POWER = 0.8
Matrix = NDArray[np.float64]


class Estimate(NamedTuple):
    """A mean with its two-sided 95% interval; `p` tests that the mean is zero, and may be a little above 0.05 where the
    interval just leaves zero out.

    `detectable` is the true mean that such a test at 5% finds in 4 of 5 cases.
    """

    mean: float
    low: float
    high: float
    p: float
    detectable: float


def detectable(scores: Matrix, comparisons: int) -> float:
    """The true mean that is found in 4 of 5 cases as one of `comparisons`, which has to pass Holm's first step."""
    parts = _parts(scores)
    return _half(parts, (1 - LEVEL) / 2 / comparisons) + _half(parts, 1 - POWER)


def estimate(scores: Matrix) -> Estimate:
    """The mean of `scores` [seeds, items]; with one seed the interval speaks of items only."""
    mean = float(scores.mean())
    parts = _parts(scores)
    tail = (1 - LEVEL) / 2
    half = _weighted(parts, tail)
    return Estimate(mean, mean - half, mean + half, _p(abs(mean), parts, scores.shape[-1]), detectable(scores, 1))


def proportion(scores: Matrix) -> Estimate:
    """The mean of scores between 0 and 1 with Wilson's interval, which stays inside and covers near the ends as well.

    All true rates r with (mean - r)^2 <= w r (1 - r), where w = half^2 / (mean (1 - mean)) stands for t^2 / n of the
    simple binomial: n is the effective sample size of a clustered sample (Kott & Carr 1997; Franco et al. 2019).
    Where every score is 0 or every one is 1, nothing tells how far seeds agree by chance: n is then the I items.
    """
    plain = estimate(scores)
    spread = plain.mean * (1 - plain.mean)
    if spread > 0:
        weight = ((plain.high - plain.low) / 2) ** 2 / spread
    else:
        items = scores.shape[1]
        weight = _quantile((1 - LEVEL) / 2, items - 1) ** 2 / items if items > 1 else np.inf
    if not np.isfinite(weight):
        return plain._replace(low=0.0, high=1.0)
    centre = (plain.mean + weight / 2) / (1 + weight)
    half = float(np.sqrt(weight * spread + weight**2 / 4)) / (1 + weight)
    return plain._replace(low=min(plain.mean, centre - half), high=max(plain.mean, centre + half))


def seeds_needed(scores: Matrix, effect: float, most: int = 1000) -> int | None:
    """With how many seeds a true mean of `effect` would be found in 4 of 5 cases, the spreads being those of `scores`.

    The part of the variance that comes from the items stays as it is, however many seeds there are: None where more
    items would be needed, or more than `most` seeds.
    """
    seeds = scores.shape[0]
    of_seeds, *of_items = _parts(scores)
    for count in range(2, most + 1):
        parts = [_Part(of_seeds.variance * seeds / count, count - 1), *of_items]
        if _half(parts, (1 - LEVEL) / 2) + _half(parts, 1 - POWER) <= effect:
            return count
    return None


def spread_ratio(first: NDArray[np.float64], second: NDArray[np.float64]) -> Estimate | None:
    """The logarithm of the ratio of two standard deviations, by the F distribution; None if one of them is zero.

    `first` and `second` are independent samples, as the accuracies of two methods over their seeds are.
    """
    variances = [float(sample.var(ddof=1)) for sample in (first, second)]
    if min(variances) == 0.0:
        return None
    degrees = first.size - 1, second.size - 1
    mean = float(np.log(variances[0] / variances[1])) / 2
    low, high = mean - _log_f(1 - (1 - LEVEL) / 2, *degrees), mean - _log_f((1 - LEVEL) / 2, *degrees)
    tail = float(stats.f.sf(variances[0] / variances[1], *degrees))
    detectable = _log_f(1 - (1 - LEVEL) / 2, *degrees) + _log_f(POWER, *degrees)
    return Estimate(mean, low, high, 2 * min(tail, 1 - tail), detectable)


def seeds_needed_for_spread(effect: float, most: int = 1000) -> int | None:
    """With how many seeds of each a ratio of standard deviations of exp(`effect`) would be found in 4 of 5 cases."""
    for count in range(2, most + 1):
        if _log_f(1 - (1 - LEVEL) / 2, count - 1, count - 1) + _log_f(POWER, count - 1, count - 1) <= effect:
            return count
    return None


def _log_f(quantile: float, first: int, second: int) -> float:
    """Half the logarithm of a quantile of the F distribution: of the ratio of two equal standard deviations."""
    return float(np.log(stats.f.ppf(quantile, first, second))) / 2


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


class _Part(NamedTuple):
    """A share of the mean's variance and the degrees of freedom that it is known with."""

    variance: float
    degrees: int


def _parts(scores: Matrix) -> list[_Part]:
    """What seeds (with everything that is left over) and what items add to the variance of the grand mean."""
    seeds, items = scores.shape
    if seeds == 1 or items == 1:
        flat = scores.ravel()
        return [_Part(float(flat.var(ddof=1)) / flat.size, flat.size - 1)] if flat.size > 1 else []
    of_seeds, of_items = scores.mean(axis=1), scores.mean(axis=0)
    rest = scores - of_seeds[:, None] - of_items[None, :] + scores.mean()
    square_seeds = items * float(of_seeds.var(ddof=1))
    square_items = seeds * float(of_items.var(ddof=1))
    square_rest = float((rest**2).sum()) / ((seeds - 1) * (items - 1))
    if square_seeds < _NOTHING * square_rest:
        square_seeds = square_rest
    return [
        _Part(square_seeds / (seeds * items), seeds - 1),
        _Part(max(square_items - square_rest, 0.0) / (seeds * items), items - 1),
    ]


def _weighted(parts: list[_Part], tail: float) -> float:
    """Half the width of the interval, its quantile weighted by the parts of the variance."""
    whole = sum(part.variance for part in parts)
    if whole <= 0:
        return 0.0
    return float(sum(_quantile(tail, part.degrees) * part.variance for part in parts) / np.sqrt(whole))


def _half(parts: list[_Part], tail: float) -> float:
    """How far from zero a mean must be to be found at this tail, however small that is."""
    squares = (_quantile(tail, part.degrees) ** 2 * part.variance for part in parts)
    return float(np.sqrt(sum(squares)))


def _quantile(tail: float, degrees: int) -> float:
    """Of Student's t, with `tail` above it."""
    return -float(special.stdtrit(degrees, tail))


def _p(distance: float, parts: list[_Part], items: int) -> float:
    """The two-sided p-value: the level at which the mean is just found; where all scores are one, that of a sign test
    over the items."""
    if distance == 0.0:
        return 1.0
    if not any(part.variance > 0 for part in parts):
        return float(2.0 ** (1 - items))
    smallest = 1e-12
    if _half(parts, smallest / 2) < distance:
        return smallest
    return float(optimize.brentq(lambda p: _half(parts, p / 2) - distance, smallest, 1.0, xtol=1e-13))
