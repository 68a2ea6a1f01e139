"""What finished runs took, and which of them are like a planned one.

Throughput is operations a device-second. It is taken from runs of the same model and method, else of the same model,
else of any on the same device; which it was is part of the answer.
"""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import Damaged
from harness.record import Result, RunDirectory, all_runs
from harness.spec import RunSpec


@dataclass(frozen=True)
class Past:
    """A finished run."""

    spec: RunSpec
    result: Result
    device: str
    """The GPU's name, else the processor's."""
    bytes: int
    """Of its directory."""
    tensor_parallel: int = 1
    """Devices that its one process held; its seconds count once for each."""

    @property
    def answer_tokens(self) -> float | None:
        """Mean tokens of a completion that was sampled for training."""
        meters = self.result.meters
        return meters.generated_tokens / meters.rollouts if meters.rollouts else None


@dataclass(frozen=True)
class Throughput:
    """Medians over the runs that an estimate goes by."""

    flops_per_second: float
    source: str
    """`same model and method`, `same model` or `same device`."""
    runs: int


def read_history(runs: Path) -> list[Past]:
    """Every finished run below `runs` that can be read: a damaged one tells nothing, and an ingest names it."""
    found = []
    for directory in all_runs(runs):
        with contextlib.suppress(Damaged):
            found += [past_of(directory)] if directory.result.exists() else []
    return found


def past_of(directory: RunDirectory) -> Past:
    """One finished run."""
    size = sum(file.stat().st_size for file in directory.path.rglob("*") if file.is_file())
    try:
        found = json.loads(directory.environment.read_bytes()) if directory.environment.exists() else {}
    except ValueError as error:
        raise Damaged(directory.environment, str(error)) from None
    spread = int(found.get("tensor_parallel") or 1)
    return Past(directory.read_spec(), directory.read_result(), str(found.get("gpu") or found.get("cpu")), size, spread)


def throughput(history: Iterable[Past], spec: RunSpec, device: str, tensor_parallel: int = 1) -> Throughput | None:
    """How fast runs like `spec` went; None without any. One that holds more devices than they did, of which only
    generation makes use, has as many more device-seconds, at most."""
    here = [past for past in history if past.result.meters.flops and past.result.meters.device_seconds]
    model = [past for past in here if past.spec.model == spec.model and past.device == device]
    method = [past for past in model if past.spec.method.name == spec.method.name]
    same = [past for past in here if past.device == device]
    for source, found in (("same model and method", method), ("same model", model), ("same device", same)):
        if found:
            rates = [
                past.result.meters.flops / past.result.meters.device_seconds * past.tensor_parallel / tensor_parallel
                for past in found
            ]
            return Throughput(statistics.median(rates), source, len(found))
    return None


def evaluation_seconds(history: Sequence[Past], spec: RunSpec, device: str, tensor_parallel: int = 1) -> float | None:
    """Seconds that runs of this model on this task spent beside training, scaled to the items that are scored."""
    like = [
        past
        for past in history
        if past.spec.model == spec.model and past.spec.task == spec.task and past.device == device
    ]
    each = [
        (past.result.meters.evaluate_seconds + past.result.meters.overhead_seconds)
        * (tensor_parallel / past.tensor_parallel / scored_items(past.spec))
        for past in like
    ]
    return statistics.median(each) * scored_items(spec) if each else None


def scored_items(spec: RunSpec) -> int:
    """Completions that a run's evaluations ask for: the final one, and the points of the learning curve."""
    protocol = spec.evaluation
    points = protocol.curve_points + 1 if protocol.curve_points else 0
    return protocol.items * protocol.samples + points * protocol.curve_items
