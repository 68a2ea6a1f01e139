"""Do the intervals and tests of reports keep what they promise? A simulation with a known truth.

    python benchmarks/coverage.py [--rounds 4000] [--seeds 3 5 10] [--items 100 300 600] [--json]

Right and wrong answers are drawn from a logistic model with crossed random effects, for method m, seed s and item i:

    logit P(right) = level_m + difficulty_i + taste_mi + seed_ms,    each of the last three normal with mean 0,

so true accuracies are known by quadrature. `single`: the interval of one accuracy. `paired`: the interval of the
difference of two methods on the same seeds and items, without and with a true difference. `family`: the share of
sweeps of equally good methods in which Holm's adjustment lets any pair be called different. `little`: the same where
methods hardly move, so that seeds often agree to the last answer: every run answers as the base does, but for a share
`rate` of the items, on which it is right where the base is wrong and the other way round. `across`: the bootstrap
interval of a report across tasks (reports/aggregates.py), where the tasks' gains are alike. Every count has a standard
error of sqrt(p (1 - p) / rounds): 0.3 points at 95% and 4,000 rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from reports.aggregates import bootstrapped, interquartile_mean
from reports.statistics import estimate, holm, proportion

SEEDS, ITEMS = (3, 5, 10), (100, 300, 600)
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """How a sweep's answers come about; the spreads are standard deviations on the scale of the logit."""

    seeds: int
    items: int
    rate: float = 0.3
    """True accuracy."""
    difficulty: float = 1.5
    """Of an item, for all methods alike."""
    taste: float = 1.0
    """Of an item for one method: what makes methods differ by item."""
    of_seed: float = 0.2
    """Of a training seed: 0.2 moves accuracy by about 3 points."""


def level(world: World, rate: float) -> float:
    """The intercept that gives a true accuracy of `rate`."""
    return float(optimize.brentq(lambda a: accuracy(world, a) - rate, -15, 15))


def accuracy(world: World, intercept: float) -> float:
    """The mean of the logistic function over all random effects (Gauss-Hermite quadrature)."""
    spread = np.sqrt(world.difficulty**2 + world.taste**2 + world.of_seed**2)
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    return float(weights @ special.expit(intercept + spread * nodes) / weights.sum())


def draw(rng: np.random.Generator, world: World, levels: list[float]) -> Scores:
    """Scores [methods, seeds, items] of 0 and 1; the methods share the items' difficulty and nothing else."""
    methods, seeds, items = len(levels), world.seeds, world.items
    logits = (
        np.array(levels)[:, None, None]
        + rng.normal(0, world.difficulty, (1, 1, items))
        + rng.normal(0, world.taste, (methods, 1, items))
        + rng.normal(0, world.of_seed, (methods, seeds, 1))
    )
    return (rng.random(logits.shape) < special.expit(logits)).astype(float)


def single(world: World, rounds: int, seed: int = 0) -> float:
    """How often the interval of one method's accuracy holds the truth."""
    rng, at = np.random.default_rng(seed), [level(world, world.rate)]
    found = (proportion(draw(rng, world, at)[0]) for _ in range(rounds))
    return sum(one.low <= world.rate <= one.high for one in found) / rounds


def paired(world: World, rounds: int, gain: float = 0.0, seed: int = 0) -> float:
    """How often the interval of a difference holds the truth; without a gain, one minus the level of the test."""
    rng, at = np.random.default_rng(seed), [level(world, world.rate + gain), level(world, world.rate)]
    covered = 0
    for _ in range(rounds):
        better, worse = draw(rng, world, at)
        found = estimate(better - worse)
        covered += found.low <= gain <= found.high
    return covered / rounds


def family(world: World, methods: int, rounds: int, better: int = 0, gain: float = 0.2, seed: int = 0) -> float:
    """How often any two equally good methods are called different; `better` of them are ahead of the rest by `gain`."""
    rng = np.random.default_rng(seed)
    ahead, behind = level(world, world.rate + gain), level(world, world.rate)
    levels = [ahead] * better + [behind] * (methods - better)
    pairs = list(combinations(range(methods), 2))
    equal = np.array([levels[a] == levels[b] for a, b in pairs])
    wrong = 0
    for _ in range(rounds):
        scores = draw(rng, world, levels)
        adjusted = np.array(holm([estimate(scores[a] - scores[b]).p for a, b in pairs]))
        wrong += bool((adjusted[equal] < 0.05).any())
    return wrong / rounds


def little(items: int, rate: float, methods: int, rounds: int, seeds: int = 3, seed: int = 0) -> float:
    """`family` for methods that change a share `rate` of the answers of a base that has half of them right."""
    rng = np.random.default_rng(seed)
    pairs = list(combinations(range(methods), 2))
    wrong = 0
    for _ in range(rounds):
        base = np.arange(items) % 2
        scores = np.abs(base - (rng.random((methods, seeds, items)) < rate)).astype(float)
        wrong += min(holm([estimate(scores[a] - scores[b]).p for a, b in pairs])) < 0.05
    return wrong / rounds


def across(seeds: int, tasks: int, rounds: int, seed: int = 0) -> float:
    """How often the bootstrap interval of an interquartile mean over tasks holds the truth, for normal gains."""
    rng = np.random.default_rng(seed)
    found = (bootstrapped(interquartile_mean, rng.normal(0, 1, (seeds, tasks))) for _ in range(rounds))
    return sum(one.low <= 0 <= one.high for one in found) / rounds


def measure(rounds: int, seeds: Sequence[int] = SEEDS, items: Sequence[int] = ITEMS) -> Iterator[dict[str, Any]]:
    """Every row of the simulation, each with random numbers of its own."""
    for number, row in enumerate(_rows(seeds, items)):
        world = World(**{field.name: row[field.name] for field in fields(World)})
        match row["what"]:
            case "paired":
                share = paired(world, rounds, row["gain"], number)
            case "single":
                share = single(world, rounds, number)
            case "little":
                share = little(world.items, world.rate, row["methods"], max(rounds // 4, 1), world.seeds, number)
            case "across":
                share = across(world.seeds, row["tasks"], max(rounds // 4, 1), number)
            case _:
                share = family(world, row["methods"], max(rounds // 4, 1), row["better"], seed=number)
        yield {**row, "share": share}


def _rows(every_seeds: Sequence[int], every_items: Sequence[int]) -> Iterator[dict[str, Any]]:
    for seeds, items in product(every_seeds, every_items):
        for spread, taste, gain in product((0.0, 0.2, 0.5), (0.0, 1.0), (0.0, 0.1)):
            yield {"what": "paired", "gain": gain, **asdict(World(seeds, items, taste=taste, of_seed=spread))}
        for rate in (0.02, 0.05):
            yield {"what": "paired", "gain": 0.0, **asdict(World(seeds, items, rate))}
        for rate, spread in product((0.02, 0.05, 0.3), (0.0, 0.2, 0.5)):
            yield {"what": "single", **asdict(World(seeds, items, rate, of_seed=spread))}
        for better in (0, 4):
            yield {"what": "family", "methods": 8, "better": better, **asdict(World(seeds, items))}
        for rate in (0.005, 0.02):
            yield {"what": "little", "methods": 8, "better": 0, **asdict(World(seeds, items, rate))}
    for seeds, tasks in product(every_seeds, (4, 10)):
        yield {"what": "across", "tasks": tasks, **asdict(World(seeds, 0))}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=4000)
    arguments.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    arguments.add_argument("--items", type=int, nargs="+", default=ITEMS)
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    if given.json:
        json.dump(list(measure(given.rounds, given.seeds, given.items)), sys.stdout, indent=1)
        return
    print(f"{'what':<7} {'seeds':>5} {'items':>5} {'rate':>5} {'gain':>5} {'taste':>5} {'of seed':>7} {'share':>7}")
    for row in measure(given.rounds, given.seeds, given.items):
        extra = f"{row['better']} of {row['methods']} better" if "better" in row else ""
        extra = f"{row['tasks']} tasks" if "tasks" in row else extra
        print(
            f"{row['what']:<7} {row['seeds']:>5} {row['items']:>5} {row['rate']:>5} {row.get('gain', ''):>5} "
            f"{row['taste']:>5} {row['of_seed']:>7} {row['share']:>7.1%} {extra}",
            flush=True,
        )


if __name__ == "__main__":
    main()
