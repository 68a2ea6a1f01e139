"""The estimate that is kept with a sweep, and what its runs then took, side by side.

`estimate.json` is written beside `sweep.json` when a sweep is started and left alone after that: it is what was said
before anything had run. Figures are medians over the finished final runs of an arm.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.atomic import write_json
from harness.record import RunDirectory
from sweeps.directory import SweepDirectory
from sweeps.estimate.estimate import Estimate
from sweeps.estimate.history import past_of
from sweeps.resolve import Sweep

FIGURES = ("generated_tokens", "trained_tokens", "flops", "seconds", "memory", "disk")


@dataclass(frozen=True)
class Checked:
    """One figure of one arm: None where it was not estimated."""

    method: str
    figure: str
    estimated: float | None
    taken: float
    runs: int


def keep_estimates(directory: SweepDirectory, identity: str, estimates: Sequence[Estimate]) -> None:
    """Write the estimates of a sweep down, unless those of the same sweep are there."""
    path = _file(directory)
    if path.exists() and json.loads(path.read_text())["identity"] == identity:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"identity": identity, "arms": [_plain(one) for one in estimates]})


def check(sweep: Sweep, runs: Path) -> list[Checked] | None:
    """Estimate and outcome of every arm that has finished final runs; None where nothing was kept for this sweep."""
    directory = SweepDirectory.of(runs, sweep.name)
    path = _file(directory)
    record = directory.read()
    if record is None or not path.exists():
        return None
    kept = json.loads(path.read_text())
    if kept["identity"] != sweep.identity or record.identity != sweep.identity:
        return None
    by_method = {arm["method"]: arm for arm in kept["arms"]}
    found = []
    for arm in sweep.arms:
        own = next((one for one in record.arms if one.method == arm.label), None)
        if own is None or own.winner is None or arm.label not in by_method:
            continue
        specs = sweep.final_specs(arm, arm.entry.resolve(own.winner))
        done = [one for one in (RunDirectory.of(runs, spec) for spec in specs) if one.result.exists()]
        if done:
            taken = [taken_by(one) for one in done]
            for figure in FIGURES:
                middle = statistics.median(one[figure] for one in taken)
                found.append(Checked(arm.label, figure, by_method[arm.label][figure], middle, len(done)))
    return found


def taken_by(directory: RunDirectory) -> dict[str, float]:
    """The figures of one finished run."""
    past = past_of(directory)
    meters = past.result.meters
    return {
        "generated_tokens": float(meters.generated_tokens),
        "trained_tokens": float(meters.trained_tokens),
        "flops": meters.flops,
        "seconds": meters.seconds,
        "memory": float(past.result.peak_memory_bytes),
        "disk": float(past.bytes),
    }


def _plain(estimate: Estimate) -> dict[str, Any]:
    """An estimate's figures, and what they are from."""
    work = dataclasses.asdict(estimate.work) if estimate.work is not None else {}
    return {
        "method": estimate.method,
        **{name: work.get(name) for name in ("generated_tokens", "trained_tokens", "flops")},
        "seconds": estimate.seconds,
        "memory": estimate.memory_bytes,
        "disk": estimate.disk_bytes,
        "source": estimate.work_source,
        "throughput": None if estimate.throughput is None else estimate.throughput.source,
    }


def _file(directory: SweepDirectory) -> Path:
    return directory.path / "estimate.json"
