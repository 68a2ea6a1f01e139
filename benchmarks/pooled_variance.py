"""Would a seed variance shared by all methods of a sweep find more, and would its intervals still hold the truth?

    python benchmarks/pooled_variance.py [--rounds 2000] [--methods 25] [--json]

With three seeds a pair of methods knows its own variance with two degrees of freedom, and Holm over 300 pairs then asks
for a t above 75: nearly everything is tied. Three ways are compared on seed means x_ms ~ N(0, spread_m^2), all methods
being equally good:

    own        variance of the pair's own S differences, S - 1 degrees of freedom: what reports do
    pooled     2 * mean_m s_m^2, M (S - 1) degrees of freedom (analysis of variance, methods x seeds)
    moderated  (d0 s0^2 + d s_ab^2) / (d0 + d), d0 + d degrees of freedom, with the prior d0, s0 from the spread of all
               pairs' variances (empirical Bayes, Smyth 2004, section 6.2)

`worst` is the coverage of the pair that is served worst, `wrong` the share of sweeps in which Holm calls any pair
different, `found` the share of pairs found when one is ahead by six of the smallest spreads.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from reports.statistics import holm

Values = NDArray[np.float64]
SPREADS = {
    "equal": lambda methods: np.ones(methods),
    "half twice as wide": lambda methods: np.where(np.arange(methods) < methods // 2, 1.0, 2.0),
    "one to six times": lambda methods: np.linspace(1.0, 6.0, methods),
    "one method thrice": lambda methods: np.where(np.arange(methods) < 1, 3.0, 1.0),
    "two methods tenfold": lambda methods: np.where(np.arange(methods) < 2, 10.0, 1.0),
}


def variances(means: Values) -> dict[str, tuple[Values, float]]:
    """For each way the variance of every pair's difference at one seed, and its degrees of freedom."""
    methods, seeds = means.shape
    first, second = np.triu_indices(methods, 1)
    own = (means[first] - means[second]).var(axis=1, ddof=1)
    degrees = seeds - 1
    pooled = np.full(own.size, 2 * means.var(axis=1, ddof=1).mean())
    prior, scale = _prior(own, degrees)
    moderated = (prior * scale + degrees * own) / (prior + degrees)
    return {
        "own": (own, degrees),
        "pooled": (pooled, methods * degrees),
        "moderated": (moderated, prior + degrees),
    }


def measure(spread: str, methods: int, seeds: int, rounds: int, seed: int = 0) -> list[dict[str, Any]]:
    """A row a way, for one pattern of spreads."""
    rng, spreads = np.random.default_rng(seed), SPREADS[spread](methods)
    first, second = np.triu_indices(methods, 1)
    covered: dict[str, Values] = {}
    wrong: dict[str, int] = {}
    found: dict[str, float] = {}
    for _ in range(rounds):
        means = rng.normal(0, spreads[:, None], (methods, seeds))
        difference = means[first].mean(axis=1) - means[second].mean(axis=1)
        for way, (variance, degrees) in variances(means).items():
            p, ahead = (
                2 * special.stdtr(degrees, -np.abs(value) / np.sqrt(variance / seeds))
                for value in (difference, difference + 6.0)
            )
            covered[way] = covered.get(way, 0.0) + (p >= 0.05)
            wrong[way] = wrong.get(way, 0) + (min(holm(list(p))) < 0.05)
            found[way] = found.get(way, 0.0) + float(np.mean(np.array(holm(list(ahead))) < 0.05))
    return [
        {
            "spreads": spread,
            "methods": methods,
            "seeds": seeds,
            "way": way,
            "mean": float(covered[way].mean()) / rounds,
            "worst": float(covered[way].min()) / rounds,
            "wrong": wrong[way] / rounds,
            "found": found[way] / rounds,
        }
        for way in covered
    ]


def _prior(observed: Values, degrees: int) -> tuple[float, float]:
    """Degrees of freedom and scale of the scaled inverse chi-square that the variances come from, by two moments."""
    logs = np.log(observed) - special.digamma(degrees / 2) + np.log(degrees / 2)
    excess = float(logs.var(ddof=1)) - float(special.polygamma(1, degrees / 2))
    if excess <= 1e-3:
        return 1000.0, float(observed.mean())
    prior = 2 * _inverse_trigamma(excess)
    return prior, float(np.exp(logs.mean() + special.digamma(prior / 2) - np.log(prior / 2)))


def _inverse_trigamma(value: float) -> float:
    """The x with trigamma(x) = value, by Newton's steps on 1 / trigamma (Smyth 2004, appendix)."""
    x = 0.5 + 1 / value
    for _ in range(50):
        now = float(special.polygamma(1, x))
        step = now * (1 - now / value) / float(special.polygamma(2, x))
        x += step
        if abs(step) < 1e-9 * x:
            break
    return x


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=2000)
    arguments.add_argument("--methods", type=int, default=25)
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    rows = (
        row for seeds in (3, 5) for spread in SPREADS for row in measure(spread, given.methods, seeds, given.rounds)
    )
    if given.json:
        json.dump(list(rows), sys.stdout, indent=1)
        return
    print(f"{'spreads':<20} {'seeds':>5} {'way':<10} {'mean':>6} {'worst':>6} {'wrong':>6} {'found':>6}")
    for row in rows:
        shares = " ".join(f"{row[name]:>6.1%}" for name in ("mean", "worst", "wrong", "found"))
        print(f"{row['spreads']:<20} {row['seeds']:>5} {row['way']:<10} {shares}", flush=True)


if __name__ == "__main__":
    main()
