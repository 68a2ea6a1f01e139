"""The effect that a claim is about, estimated from two arms of a sweep on the seeds that they share.

Accuracy: paired by seed and question. Seconds and tokens of an answer: the mean logarithm of the ratio, paired by seed.
Retention: the difference of the changes, paired by seed and probe. Spread: the ratio of two standard deviations. The
intervals are those of reports.statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from reports.ledger import Claim
from reports.statistics import Estimate, Matrix, estimate, seeds_needed, seeds_needed_for_spread, spread_ratio
from reports.sweep_data import MethodData

_COLUMNS = {"seconds": "device_seconds", "length": "tokens_per_completion"}


class Effect(NamedTuple):
    """First arm against second, on the scale of the claim's threshold.

    `seeds` says with how many seeds a true effect of a given size would be found; None where seeds alone cannot.
    """

    estimate: Estimate
    seeds: Callable[[float], int | None]


def shared_seeds(first: MethodData, second: MethodData) -> list[int]:
    """The seeds of which both arms have a finished final run."""
    return [seed for seed in first.seeds if seed in second.seeds]


def accuracy_difference(first: MethodData, second: MethodData) -> Matrix:
    """First minus second [shared seeds, items]."""
    rows = [[one.seeds.index(seed) for seed in shared_seeds(first, second)] for one in (first, second)]
    return first.scores[rows[0]] - second.scores[rows[1]]


def effect(claim: Claim, first: MethodData, second: MethodData) -> Effect | None:
    """The effect of the claim; None where the runs do not hold what it is about."""
    if claim.estimand == "spread":
        found = spread_ratio(first.scores.mean(axis=1), second.scores.mean(axis=1))
        return None if found is None else Effect(found, seeds_needed_for_spread)
    cells = _cells(claim, first, second)
    if cells is None or cells.size < 2:
        return None
    return Effect(estimate(cells), partial(seeds_needed, cells))


def _cells(claim: Claim, first: MethodData, second: MethodData) -> Matrix | None:
    if claim.estimand == "accuracy":
        return accuracy_difference(first, second)
    if claim.estimand == "retention":
        changes = [_changes(one) for one in (first, second)]
        probes = [probe for probe in changes[0] if probe in changes[1]]
        if not probes:
            return None
        rows = [[changes[0][probe][seed] - changes[1][probe][seed] for probe in probes] for seed in
                shared_seeds(first, second)]  # fmt: skip
        return np.array(rows)
    column = _COLUMNS[claim.estimand]
    values = [[one.runs[one.seeds.index(seed)][column] for seed in shared_seeds(first, second)]
              for one in (first, second)]  # fmt: skip
    if not all(value is not None and value > 0 for arm in values for value in arm):
        return None
    return np.log(np.array(values[0]) / np.array(values[1]))[:, None]


def _changes(method: MethodData) -> dict[str, dict[int, float]]:
    """By probe and seed, the change of accuracy; the database lists changes in the order of the seeds."""
    order = sorted(method.seeds)
    return {
        row["probe"]: dict(zip(order, row["changes"], strict=True))
        for row in method.retention
        if row["measure"] == "accuracy"
    }
