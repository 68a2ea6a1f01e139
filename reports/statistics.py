"""Intervals and tests on a seeds x items matrix of scores.

Seeds and items are both samples: another seed trains another model, another item asks another question. The variance
of a mean is therefore estimated from both (the crossed two-way layout of Searle, Casella & McCulloch 1992, chapter 4),
and its degrees of freedom by Satterthwaite (1946). With three seeds a two-way percentile bootstrap covers 87% where
seeds differ much; these intervals cover 94-98% (`tests/reports/test_statistics.py` measures both). Nothing here draws
a random number, so a report is the same bytes whenever it is written. Several comparisons: Holm (1979).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95
POWER = 0.8
Matrix = NDArray[np.float64]


class Estimate(NamedTuple):
    """A mean with its two-sided 95% interval; `p` tests that the mean is zero."""

    mean: float
    low: float
    high: float
    standard_error: float
    degrees: float
    p: float


def estimate(scores: Matrix) -> Estimate:
    """The mean of `scores` [seeds, items]; with one seed the interval speaks of items only."""
    seeds, items = scores.shape
    mean = float(scores.mean())
    variance, degrees = _variance(scores) if min(seeds, items) > 1 else _one_way(scores)
    error = float(np.sqrt(variance))
    if error == 0.0:
        return Estimate(mean, mean, mean, 0.0, degrees, 1.0 if mean == 0.0 else 0.0)
    half = float(stats.t.ppf((1 + LEVEL) / 2, degrees)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, degrees))
    return Estimate(mean, mean - half, mean + half, error, degrees, p)


def detectable(error: float, degrees: float) -> float:
    """The true difference that a test at 5% finds in 4 of 5 cases, given the standard error of the estimate."""
    return error * float(stats.t.ppf((1 + LEVEL) / 2, degrees) + stats.t.ppf(POWER, degrees))


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def _variance(scores: Matrix) -> tuple[float, float]:
    """Variance of the grand mean and Satterthwaite's degrees of freedom, from the mean squares of both margins."""
    seeds, items = scores.shape
    of_seeds, of_items = scores.mean(axis=1), scores.mean(axis=0)
    residual = scores - of_seeds[:, None] - of_items[None, :] + scores.mean()
    square_seeds = items * float(of_seeds.var(ddof=1))
    square_items = seeds * float(of_items.var(ddof=1))
    square_rest = float((residual**2).sum()) / ((seeds - 1) * (items - 1))
    total = max(square_seeds, square_rest) + max(square_items - square_rest, 0.0)
    spread = (
        square_seeds**2 / (seeds - 1) + square_items**2 / (items - 1) + square_rest**2 / ((seeds - 1) * (items - 1))
    )
    degrees = total**2 / spread if spread > 0 else float(seeds - 1)
    return total / (seeds * items), max(degrees, seeds - 1.0)


def _one_way(scores: Matrix) -> tuple[float, float]:
    flat = scores.ravel()
    if flat.size < 2:
        return 0.0, 1.0
    return float(flat.var(ddof=1)) / flat.size, flat.size - 1.0
