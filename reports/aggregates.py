"""Aggregates over tasks and runs, with stratified bootstrap intervals (Agarwal et al. 2021, arXiv 2108.13264, sec. 4).

Scores of a method are [runs, tasks]. The interquartile mean is the mean of the middle half of all of them (25% trimmed
at each end). The probability that X improves on Y is the mean over tasks of P(x > y) + P(x = y) / 2 over all pairs of
their runs (Mann & Whitney's U / (N M)). A performance profile is the share of runs that score above tau. The bootstrap
draws the runs of each task anew, every task by itself; its generator has a fixed seed, so the same scores give the same
interval. It speaks of other runs on these tasks, not of other tasks.

Plain percentiles are too narrow with few runs: N runs drawn from N vary by (N - 1) / N of what they should, and the
normal distribution has thinner tails than t. The interval therefore takes the percentiles Phi(-+ sqrt(N / (N - 1))
t(T (N - 1))), for T tasks (the expanded percentile interval, Hesterberg 2015, The American Statistician 69:371).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

REPEATS = 5000
LEVEL = 0.95
Scores = NDArray[np.float64]


class Interval(NamedTuple):
    """A statistic of the scores at hand and the expanded percentile interval of its bootstrap."""

    value: float
    low: float
    high: float


def interquartile_mean(scores: Scores) -> Scores:
    """Of scores [..., runs, tasks]: the mean of the middle half, over runs and tasks together."""
    flat = scores.reshape(*scores.shape[:-2], -1)
    return np.asarray(stats.trim_mean(flat, 0.25, axis=-1), dtype=np.float64)


def probability_of_improvement(first: Scores, second: Scores) -> Scores:
    """Of scores [..., runs, tasks]: how often a run of the first scores above one of the second, tasks alike."""
    ahead = first[..., :, None, :] - second[..., None, :, :]
    return np.asarray(((ahead > 0) + 0.5 * (ahead == 0)).mean(axis=(-3, -2, -1)), dtype=np.float64)


def performance_profile(scores: Scores, taus: Scores) -> Scores:
    """Of scores [..., runs, tasks]: [..., taus], the share of them above each tau."""
    flat = scores.reshape(*scores.shape[:-2], -1)
    return np.asarray((flat[..., None] > taus).mean(axis=-2), dtype=np.float64)


def resampled(scores: Scores, repeats: int = REPEATS, seed: int = 0) -> Scores:
    """[repeats, runs, tasks]: the runs of each task drawn with replacement, every task by itself."""
    runs, tasks = scores.shape
    drawn = np.random.default_rng(seed).integers(runs, size=(repeats, runs, tasks))
    return np.asarray(np.take_along_axis(scores[None], drawn, axis=1))


def bootstrapped(statistic: Callable[..., Scores], *scores: Scores) -> Interval:
    """A statistic of one method's scores or of several methods', each [runs, tasks], drawn independently."""
    draws = statistic(*(resampled(one, seed=number) for number, one in enumerate(scores)))
    low, high = np.quantile(draws, _percentiles(*min(one.shape for one in scores)))
    return Interval(float(statistic(*scores)), float(low), float(high))


def profile_band(scores: Scores, taus: Scores) -> tuple[Scores, Scores, Scores]:
    """The profile and its pointwise band: three arrays over taus."""
    draws = performance_profile(resampled(scores), taus)
    low, high = np.quantile(draws, _percentiles(*scores.shape), axis=0)
    return performance_profile(scores, taus), low, high


def _percentiles(runs: int, tasks: int) -> tuple[float, float]:
    """Which percentiles of the draws make a 95% interval; those at the ends where there is one run a task."""
    if runs < 2:
        return 0.0, 1.0
    reach = np.sqrt(runs / (runs - 1)) * stats.t.ppf((1 + LEVEL) / 2, tasks * (runs - 1))
    tail = float(stats.norm.sf(reach))
    return tail, 1 - tail
