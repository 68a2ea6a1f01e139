"""Stand-ins for the sweep's tests: a toy task, toy methods and a worker that needs no model and takes no time.

`toy_work` keeps the worker's contract (lease, events, result by rename, exit codes) with an accuracy that follows from
the spec alone, and writes every start of a run to `<runs>/starts.log`, so that tests see what was repeated.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from harness import registry
from harness.atomic import write_json
from harness.contracts import Grade, Item, Pipeline, Resources, Train
from harness.events import EventLog
from harness.lease import Lease, LeaseHeld
from harness.parameters import Search
from harness.record import Failure, Meters, Result, RunDirectory, Score
from harness.registry import method, task
from harness.spec import ModelReference
from harness.streams import stream

MODEL = ModelReference(name="toy", revision="0")


@dataclass(frozen=True)
class _Part:
    name: str
    gives: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    takes: str = "gradient"

    def describe(self) -> dict[str, Any]:
        return {}

    def attach(self, model: Any, seed: int) -> Any:
        raise NotImplementedError


def _train(needs: str = "verifier", takes: str = "gradient", gives: str = "gradient") -> Train:
    objective: Any = _Part("toy-objective", gives=frozenset({gives}), needs=frozenset({needs}))
    optimiser: Any = _Part(f"toy-{takes}", takes=takes)
    return Train(objective, _Part("toy-full"), optimiser)


def toy_base() -> Pipeline:
    """Nothing is trained."""
    return Pipeline()


def toy_rate(
    rate: Annotated[float, Search(1e-3, 1.0, log=True), "step size"] = 0.1,
    rank: Annotated[int, Search(1, 32, log=True), "rank"] = 4,
    seconds: float = 0.0,
    behaviour: str = "",
) -> Pipeline:
    """A method with something to tune."""
    return Pipeline.of(_train())


def toy_fixed(seconds: float = 0.0) -> Pipeline:
    """A method with nothing to tune."""
    return Pipeline.of(_train())


def toy_search() -> Pipeline:
    """A method that trains without a gradient."""
    return Pipeline.of(_train(takes="fitness", gives="fitness"))


def toy_documents() -> Pipeline:
    """A method that the toy task has nothing for."""
    return Pipeline.of(_train(needs="documents"))


def toy_mismatch() -> Pipeline:
    """An optimiser that does not take what the objective gives."""
    return Pipeline.of(_train(takes="fitness"))


class ToyTask:
    """A task that offers a verifier."""

    name: str
    version: int
    offers = frozenset({"verifier"})
    max_new_tokens = 4
    stop = None

    def __init__(self, level: str = "easy") -> None:
        self.level = level

    def items(self, split: str, n: int | None = None) -> list[Item]:
        size = 1000 if n is None else min(n, 1000)
        return [Item(f"{split}-{index}", split, {}) for index in range(size)]

    def prompt(self, item: Item) -> str:
        return ""

    def grade(self, item: Item, completion: str) -> Grade:
        return Grade(True, 1.0, True, "")

    def demonstration(self, item: Item) -> str:
        return ""


_TOYS = {
    "toy-base": toy_base,
    "toy-rate": toy_rate,
    "toy-fixed": toy_fixed,
    "toy-search": toy_search,
    "toy-documents": toy_documents,
    "toy-mismatch": toy_mismatch,
}


def register_toys() -> None:
    """Put the toys into the registry of this process."""
    for name, build in _TOYS.items():
        method(name, version=1)(build)
    task("toy-task", version=1)(ToyTask)


def forget_toys() -> None:
    """Take them out again: other tests go over everything registered."""
    for name in _TOYS:
        registry._METHODS.pop(name)
    registry._TASKS.pop("toy-task")


def toy_work(run_directory: Path, resources: Resources) -> int:
    """Run the spec of a directory; 0 done, 1 failed, 3 pruned, 4 held elsewhere."""
    directory = RunDirectory(run_directory)
    spec = directory.read_spec()
    try:
        with Lease(directory.lease):
            return 0 if directory.result.exists() else _toy_run(directory)
    except LeaseHeld:
        print(f"{spec.run_id} is held elsewhere")
        return 4


def _toy_run(directory: RunDirectory) -> int:
    spec = directory.read_spec()
    runs = directory.path.parents[2]
    with (runs / "starts.log").open("a") as log:
        log.write(f"{spec.run_id} {os.getpid()}\n")
    directory.error.unlink(missing_ok=True)
    parameters = spec.method.parameters
    behaviour = parameters.get("behaviour", "")
    print(f"toy run {spec.run_id}: {behaviour or 'plain'}", flush=True)
    if behaviour == "die" or (behaviour == "die-once" and not (directory.path / "died").exists()):
        (directory.path / "died").touch()
        os.kill(os.getpid(), 9)
    if behaviour in ("nan", "bug"):
        failure = Failure(phase="train", failure=behaviour, message=f"toy {behaviour}", traceback=None, at=time.time())
        write_json(directory.error, failure.model_dump(mode="json"))
        return 1
    if behaviour == "silent":
        raise RuntimeError("toy worker fell over")
    accuracy = toy_accuracy(parameters.get("rate", 0.01), parameters.get("rank", 1), spec.seed)
    events = EventLog(directory.events)
    events.keep(0)
    for point in range(1, spec.evaluation.curve_points + 1):
        time.sleep(parameters.get("seconds", 0.0) / spec.evaluation.curve_points)
        events.write("curve", point=point, accuracy=accuracy * point / spec.evaluation.curve_points)
        if directory.prune.exists():
            failure = Failure(phase="train", failure="pruned", message="pruned", traceback=None, at=time.time())
            write_json(directory.error, failure.model_dump(mode="json"))
            return 3
    protocol = spec.evaluation
    result = Result(
        run_id=spec.run_id,
        score=Score(
            split=protocol.split,
            items=protocol.items,
            samples=protocol.samples,
            accuracy=accuracy,
            reward=accuracy,
            well_formed=1.0,
            truncated=0.0,
            tokens_per_completion=3.0,
        ),
        meters=Meters(train_seconds=parameters.get("seconds", 0.0) + 0.5, steps=10),
        stages=[],
        trainable_parameters=None,
        total_parameters=1,
        peak_memory_bytes=1,
        weights_digest="toy",
        resumed=0,
        started_at=0.0,
        finished_at=1.0,
    )
    write_json(directory.result, result.model_dump(mode="json"))
    return 0


def toy_accuracy(rate: float, rank: int, seed: int) -> float:
    """Between 0 and 1, highest near rate 0.3 and rank 16."""
    noise = (stream(seed, "toy") % 1000) / 1e5
    return max(0.0, 0.9 - abs(rate - 0.3) - abs(rank - 16) / 64 + noise) / 1.01
