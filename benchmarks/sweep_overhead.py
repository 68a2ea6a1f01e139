"""What of a sweep's time is the harness's own: plan, starts of runs, leases, events, checkpoints, ingest, report.

    python -m benchmarks.sweep_overhead [SWEEP] [--slots 2] [--keep FOLDER]

Runs the sweep (`quickstart`) from nothing in an empty folder (with `--keep` a new one that is kept), as `beyondrl
sweep` does, and divides the time of all slots: what the runs' meters call train, generate and evaluate is work, less
what was charged to a run for answers that another one had sampled. What a method does before its first update (its
data, its trainer) is not the harness's either and stands by itself. The tail, from the last start of a run until all
have ended, leaves slots empty because there is nothing left to start. All else is overhead, be it inside runs, between
them (a slot that waits for a trial's value is counted), or before the first and after the last one. What the controller
and what it starts beside the runs compute while these are at work makes them slower, where there are as many slots as
cores: those processor seconds are taken from the work and counted as overhead too. Exit code 1 if the share is above
the limit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path

import psutil

from harness.events import read_events
from harness.record import Meters, Result, RunDirectory

LIMIT = 0.03


def main() -> int:
    """Print the shares of the slots' time."""
    from cli.sweep import Places, carry_out  # here, because every process of a run imports this file
    from cli.sweep_files import find_sweep_file
    from sweeps.file import read_sweep

    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("sweep", nargs="?", default="quickstart")
    arguments.add_argument("--slots", type=int, default=os.cpu_count())
    arguments.add_argument("--keep", type=Path)
    given = arguments.parse_args()
    if given.keep is not None:
        given.keep.mkdir(parents=True)
    with contextlib.nullcontext(given.keep) if given.keep else tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        places = Places(runs, Path(folder) / "results.duckdb", Path(folder) / "reports")
        parsed, document = read_sweep(find_sweep_file(given.sweep))
        with Clock() as clock:
            began = time.time()
            carry_out(parsed, document, ["sweep", given.sweep], places, given.slots)
            ended = time.time()
        directories = [RunDirectory(path.parent) for path in sorted(runs.rglob("result.json"))]
        results = [directory.read_result() for directory in directories]
        elsewhere = sum(map(charged_elsewhere, directories))
        preparing = sum(map(preparation, directories))
    parts = divided(results, began, ended, given.slots, elsewhere, preparing)
    beside = clock.between(*span(results))
    parts["controller beside"], parts["work"] = beside, parts["work"] - beside
    whole = given.slots * (ended - began)
    print(f"\n{given.sweep}: {len(results)} runs, {ended - began:.0f} s of the wall on {given.slots} slots")
    for name, seconds in parts.items():
        print(f"{name:22} {seconds:8.1f} s of slots  {seconds / whole:7.2%}")
    share = sum(seconds for name, seconds in parts.items() if name not in ("work", "preparing", "tail")) / whole
    print(f"{'overhead':22} {'':21} {share:7.2%}  limit {LIMIT:.0%}{'' if share <= LIMIT else '  BROKEN'}")
    return int(share > LIMIT)


class Clock:
    """Processor seconds of this process and of all that it started but the runs, twice a second."""

    def __init__(self) -> None:
        self._others: dict[int, float] = {}
        self._readings: list[tuple[float, float]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Clock:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def between(self, start: float, end: float) -> float:
        """Processor seconds from `start` to `end`, both in seconds since the epoch."""
        inside = [used for moment, used in self._readings if start <= moment <= end]
        return inside[-1] - inside[0] if inside else 0.0

    def _read(self) -> None:
        while not self._ended.wait(0.5):
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                    if os.getpgid(process.pid) != process.pid:  # a run leads its own group
                        used = process.cpu_times()
                        self._others[process.pid] = used.user + used.system
            self._readings.append((time.time(), time.process_time() + sum(self._others.values())))


def span(results: list[Result]) -> tuple[float, float]:
    """When the first run began and when the last one ended."""
    return min(one.started_at for one in results), max(one.finished_at for one in results)


def charged_elsewhere(directory: RunDirectory) -> float:
    """Seconds in a run's meters that another run spent on answers that this one took over."""
    files = [
        one["file"] for one in read_events(directory.events) if one["kind"] == "rollouts" and not one["sampled_here"]
    ]
    taken = [Meters(**json.loads((directory.rollouts / file).read_text())["meters"]) for file in files]
    return sum(meters.device_seconds for meters in taken)


def preparation(directory: RunDirectory) -> float:
    """Seconds between the first score of a run's curve and its first update that no clock of work counts."""
    events = [one for one in read_events(directory.events) if one["kind"] in ("curve", "metrics")]
    for before, after in pairwise(events):
        if (before["kind"], after["kind"]) == ("curve", "metrics"):
            return float(after["meters"]["overhead_seconds"] - before["meters"]["overhead_seconds"])
    return 0.0


def divided(
    results: list[Result], began: float, ended: float, slots: int, elsewhere: float, preparing: float
) -> dict[str, float]:
    """Seconds of all slots from `began` to `ended` by what they went to."""
    clocked = (one.meters.device_seconds + one.meters.evaluate_seconds for one in results)
    work = sum(clocked) - elsewhere
    alive = sum(one.finished_at - one.started_at for one in results)
    first, last = span(results)
    latest = max(one.started_at for one in results)
    changes = sorted([(one.started_at, 1) for one in results] + [(one.finished_at, -1) for one in results])
    empty = {"between runs": 0.0, "tail": 0.0}
    running = 0
    for (moment, change), (until, _) in pairwise(changes):
        running += change
        empty["tail" if moment >= latest else "between runs"] += (slots - running) * (until - moment)
    return {
        "work": work,
        "preparing": preparing,
        "inside runs": alive - work - preparing,
        "between runs": empty["between runs"],
        "before and after": slots * (first - began + ended - last),
        "tail": empty["tail"],
    }


if __name__ == "__main__":
    raise SystemExit(main())
