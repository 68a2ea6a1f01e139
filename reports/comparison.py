"""Who is ahead of whom, by how much and how surely: one `Standing` a method, one `Contrast` a pair.

Pairs are compared on the seeds they share, item by item. p-values are Holm-adjusted inside two families: every method
against the untuned base (does it work?), and every pair of methods (which is better?). Two methods whose adjusted p is
0.05 or more are tied. Ranked methods have three finished seeds in common; they stand in the order of their accuracies
on the seeds that all of them have. A rank is one more than the number of methods that are surely better, but never a
better rank than that of a method that stands above. What shares fewer seeds has a row, below them, and no rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, combinations

import numpy as np

from reports.statistics import Estimate, Matrix, detectable, estimate, holm, proportion
from reports.sweep_data import MethodData, SweepData

SEEDS_TO_RANK = 3
SIGNIFICANCE = 0.05
BASELINE = "base"


@dataclass(frozen=True)
class Contrast:
    """`first` minus `second`; `p` is adjusted for all contrasts of its family."""

    first: str
    second: str
    difference: Estimate
    p: float

    @property
    def tied(self) -> bool:
        return self.p >= SIGNIFICANCE


@dataclass(frozen=True)
class Standing:
    """One method's place; `versus_base` is None for the baseline itself and where there is none."""

    method: MethodData
    accuracy: Estimate
    rank: int | None
    shared_rank: bool
    versus_base: Contrast | None

    @property
    def rank_text(self) -> str:
        return "-" if self.rank is None else f"{self.rank}{'=' if self.shared_rank else ''}"


@dataclass(frozen=True)
class Comparison:
    """Standings by falling accuracy, contrasts of every pair of ranked methods, and what the design could have seen."""

    standings: list[Standing]
    contrasts: list[Contrast]
    detectable: float | None
    """The median over pairs of methods of the smallest true difference that is found in 4 of 5 cases, adjusted for as
    many comparisons as there are `pairs`; of pairs with the base where there are no others."""
    pairs: int
    common: list[int]
    """The seeds that all ranked methods have."""

    def contrast(self, first: str, second: str) -> Contrast | None:
        """The pair as `first` minus `second`, turned round where it is stored the other way."""
        for one in self.contrasts:
            if (one.first, one.second) == (first, second):
                return one
            if (one.first, one.second) == (second, first):
                d = one.difference
                turned = d._replace(mean=-d.mean, low=-d.high, high=-d.low)
                return Contrast(first, second, turned, one.p)
        return None


def compare(data: SweepData) -> Comparison:
    """Rank the methods of a sweep."""
    finished = [method for method in data.methods if method.runs]
    accuracies = {method.name: proportion(method.scores) for method in finished}
    by_accuracy = sorted(finished, key=lambda m: -accuracies[m.name].mean)
    ranked, common = _ranked(by_accuracy)
    pairs = [(a, b, _differences(a, b)) for a, b in combinations(ranked, 2)]
    contrasts: list[Contrast] = []
    size, smallest = 0, None
    for with_base in (True, False):
        family = [pair for pair in pairs if (BASELINE in (pair[0].name, pair[1].name)) == with_base]
        estimates = [estimate(differences) for _, _, differences in family]
        adjusted = holm([difference.p for difference in estimates])
        contrasts += [
            Contrast(a.name, b.name, d, p) for (a, b, _), d, p in zip(family, estimates, adjusted, strict=True)
        ]
        if family:
            size = len(family)
            smallest = float(np.median([detectable(differences, size) for _, _, differences in family]))
    found = Comparison([], contrasts, smallest, size, common)
    beaten = [1 + sum(_beats(found, other.name, method.name) for other in ranked) for method in ranked]
    ranks = {method.name: rank for method, rank in zip(ranked, accumulate(beaten, max), strict=True)}
    for method in [*ranked, *(one for one in by_accuracy if one.name not in ranks)]:
        rank = ranks.get(method.name)
        versus = None if method.name == BASELINE else found.contrast(method.name, BASELINE)
        shared = rank is not None and list(ranks.values()).count(rank) > 1
        found.standings.append(Standing(method, accuracies[method.name], rank, shared, versus))
    return found


def _ranked(methods: list[MethodData]) -> tuple[list[MethodData], list[int]]:
    """The methods that have three seeds in common, those with most seeds first taken in, by their accuracy on these."""
    taken: list[MethodData] = []
    common: list[int] = []
    for method in sorted(methods, key=lambda m: -len(m.seeds)):
        shared = [seed for seed in common if seed in method.seeds] if taken else list(method.seeds)
        if len(shared) >= SEEDS_TO_RANK:
            taken.append(method)
            common = shared

    def accuracy(method: MethodData) -> float:
        return float(method.scores[[method.seeds.index(seed) for seed in common]].mean())

    return sorted(taken, key=lambda method: (-accuracy(method), methods.index(method))), common


def _differences(a: MethodData, b: MethodData) -> Matrix:
    """Scores of `a` minus those of `b` on the seeds that both have, [seeds, items]."""
    shared = [seed for seed in a.seeds if seed in b.seeds]
    rows = [[method.seeds.index(seed) for seed in shared] for method in (a, b)]
    return a.scores[rows[0]] - b.scores[rows[1]]


def _beats(found: Comparison, better: str, worse: str) -> bool:
    contrast = found.contrast(better, worse)
    return contrast is not None and not contrast.tied and contrast.difference.mean > 0
