"""What `beyondrl plan` estimates against what finished runs took, for every method there are runs of.

    python -m benchmarks.estimates RUNS [--each 3]

Each of up to `--each` runs a method (spread over its finished ones) is estimated three times as if it had not been run:
from its parts alone; with the finished runs of other methods; and with all other runs but those of the same spec and
another seed left in. Figures are estimated / taken: the median over runs, the middle half of them, and the share within
a quarter. Nothing is computed but the estimates.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.contracts import Resources
from harness.errors import UserError
from harness.models import load_model
from harness.provenance import environment
from harness.registry import find_method
from sweeps.estimate.devices import devices_here
from sweeps.estimate.estimate import Estimate, Estimator
from sweeps.estimate.history import Past, read_history

FIGURES = ("flops", "generated tokens", "trained tokens", "memory", "memory beside base", "seconds")


def main() -> int:
    """Print the ratios by how much history there was, and by method where there was none."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("runs", type=Path)
    arguments.add_argument("--each", type=int, default=3)
    given = arguments.parse_args()
    past = read_history(given.runs)
    names = sorted({one.spec.method.name for one in past})
    chosen = [one for name in names for one in _some(past, name, given.each)]
    device = str(environment(Resources())["cpu"])
    base = min(one.result.peak_memory_bytes for one in past)
    for known in ("nothing", "other methods", "like runs"):
        ratios: dict[str, dict[str, list[float]]] = {figure: {} for figure in FIGURES}
        without: dict[tuple[str, bool], Estimator] = {}
        for one in chosen:
            history = _history(past, one, known)
            key = (one.spec.method.name if known != "nothing" else "", known == "like runs")
            if key not in without or known == "like runs":
                without[key] = Estimator(load_model(one.spec.model.name), history, devices_here(1), device)
            pipeline = find_method(one.spec.method.name).create(**one.spec.method.parameters)
            estimate = without[key].of(one.spec.method.name, pipeline, one.spec)
            for figure, ratio in _ratios(estimate, one, base).items():
                ratios[figure].setdefault(one.spec.method.name, []).append(ratio)
        print(f"\nknown: {known} ({len(chosen)} runs of {len({p.spec.method.name for p in chosen})} methods)")
        _print(ratios)
        if known == "nothing":
            _print_by_method(ratios)
    return 0


def _some(past: Sequence[Past], method: str, count: int) -> list[Past]:
    own = [one for one in past if one.spec.method.name == method and one.result.stages and _there(one)]
    return own[:: max(1, len(own) // count)][:count]


def _there(one: Past) -> bool:
    """Whether the method can be made: its code has that version, and the runs that it learns from are there."""
    try:
        find_method(one.spec.method.name).create(**one.spec.method.parameters)
    except UserError:
        return False
    return True


def _history(past: Sequence[Past], one: Past, known: str) -> list[Past]:
    if known == "nothing":
        return []
    if known == "other methods":
        return [other for other in past if other.spec.method.name != one.spec.method.name]
    return [other for other in past if other.spec.run_id != one.spec.run_id]


def _ratios(estimate: Estimate, one: Past, base: int) -> dict[str, float]:
    """Estimated / taken of whatever was estimated and is not 0 in the run."""
    meters, work = one.result.meters, estimate.work
    pairs = {
        "flops": (work.flops if work else None, meters.flops),
        "generated tokens": (work.generated_tokens if work else None, meters.generated_tokens),
        "trained tokens": (work.trained_tokens if work else None, meters.trained_tokens),
        "memory": (estimate.memory_bytes, one.result.peak_memory_bytes),
        "memory beside base": (
            estimate.memory_bytes - base if estimate.memory_bytes is not None else None,
            one.result.peak_memory_bytes - base,
        ),
        "seconds": (estimate.seconds, meters.seconds),
    }
    return {figure: told / taken for figure, (told, taken) in pairs.items() if told is not None and taken > 0}


def _print(ratios: dict[str, dict[str, list[float]]]) -> None:
    for figure, by_method in ratios.items():
        found = sorted(ratio for of_method in by_method.values() for ratio in of_method)
        if len(found) < 4:
            print(f"{figure:20} not estimated")
            continue
        low, middle, high = statistics.quantiles(found, n=4)
        near = sum(0.8 <= ratio <= 1.25 for ratio in found) / len(found)
        print(
            f"{figure:20} {middle:5.2f}  half of them {low:.2f} to {high:.2f}, all {found[0]:.2f} to {found[-1]:.2f}; "
            f"{near:.0%} within a quarter (n {len(found)})"
        )


def _print_by_method(ratios: dict[str, dict[str, list[float]]]) -> None:
    shown = ("generated tokens", "trained tokens", "memory")
    print(f"\n{'method':18}" + "".join(f"{figure:>20}" for figure in shown))
    for method in sorted({method for by_method in ratios.values() for method in by_method}):
        cells = [ratios[figure].get(method) for figure in shown]
        print(f"{method:18}" + "".join(f"{statistics.median(c):20.2f}" if c else f"{'-':>20}" for c in cells))


if __name__ == "__main__":
    sys.exit(main())
