"""What several processes of one run are worth: updates a second of one process, of two that share the run, of a limit.

    python -m benchmarks.processes [METHOD ...] [--repeats 3] [--steps 12]

Each process has one thread. The limit is two runs beside each other that share nothing: what the machine gives to a
second core. In turn, medians; the first update of a run, which warms up, is left out. Needs two free cores.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.events import read_events
from harness.executors.local import LocalExecutor
from harness.models import load_model
from harness.record import RunDirectory
from harness.registry import find_method, find_task
from harness.spec import Budget, EvaluationProtocol, RunSpec

METHODS: dict[str, dict[str, Any]] = {
    "sft": {"examples": 1024, "batch_size": 64},
    "grpo": {"examples": 256, "prompts_per_step": 16, "group_size": 8},
    "es": {"examples": 256, "prompts": 16, "population": 16},
    "muon+d2l": {
        "learning_rate": 4e-3, "latent": 128, "blocks": 2, "heads": 4, "longest": 128, "most_chunks": 4, "shortest": 16,
        "alone": 0.0, "growing": 0.0, "joined": 8, "batch_size": 48, "documents": 2000, "questions": 4,
        "answers": "gold", "l1": 0.0,
    },
}  # fmt: skip
DOCUMENTS = {"level": "F0", "facts": "1-4", "context": "none", "windows": 0.5, "lengths": "up-to"}


def main() -> int:
    """Print updates a second and their ratios."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument(
        "methods", nargs="*", metavar="METHOD", help=f"of {', '.join(METHODS)}; all if none is named"
    )
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--steps", type=int, default=12)
    given = arguments.parse_args()
    for name in given.methods:
        if name not in METHODS:
            arguments.error(f"{name} is none of {', '.join(METHODS)}")
    print("            one /s   two /s   two / one   limit")
    for name in given.methods or METHODS:
        one, two, beside = _measure(name, METHODS[name], given.repeats, given.steps)
        print(f"{name:9} {one:8.2f} {two:8.2f} {two / one:11.2f} {2 * beside / one:7.2f}", flush=True)
    return 0


def _measure(name: str, parameters: dict[str, Any], repeats: int, steps: int) -> tuple[float, float, float]:
    """Updates a second: alone, of two processes together, of each of two runs beside each other."""
    found: dict[str, list[float]] = {"one": [], "two": [], "beside": []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(repeats):
            here = Path(folder) / str(seed)
            found["one"] += _rates([_spec(name, parameters, seed, steps)], here / "one", 1)
            found["two"] += _rates([_spec(name, parameters, seed, steps)], here / "two", 2)
            pair = [_spec(name, parameters, seed + 100 * side, steps) for side in (1, 2)]
            found["beside"] += _rates(pair, here / "beside", 1)
    return statistics.median(found["one"]), statistics.median(found["two"]), statistics.median(found["beside"])


def _rates(specs: list[RunSpec], runs: Path, processes: int) -> list[float]:
    """Updates a second of runs that go on at the same time, each over `processes`."""
    executor = LocalExecutor(len(specs), threads=1, gpus=0, processes=processes)
    directories = [RunDirectory.of(runs, spec) for spec in specs]
    for directory, spec in zip(directories, specs, strict=True):
        directory.path.mkdir(parents=True)
        directory.spec.write_text(spec.model_dump_json())
    handles = [executor.submit(directory.path) for directory in directories]
    while any(handle.poll() is None for handle in handles):
        time.sleep(0.05)
    executor.close()
    return [_rate(directory) for directory in directories]


def _rate(directory: RunDirectory) -> float:
    """Updates a second by the wall's clock, from the end of the first update to that of the last."""
    ends = [event["time"] for event in read_events(directory.events) if event["kind"] == "metrics"]
    return (len(ends) - 1) / (ends[-1] - ends[0])


def _spec(method: str, parameters: dict[str, Any], seed: int, steps: int) -> RunSpec:
    reads = "documents" in parameters
    return RunSpec(
        method=find_method(method).resolve(parameters),
        task=find_task("facts").resolve(DOCUMENTS) if reads else find_task("countdown").resolve({"level": "L2"}),
        model=load_model("lab-reader" if reads else "lab").reference(),
        budget=Budget(steps=steps),
        seed=seed,
        evaluation=EvaluationProtocol(split="val", items=8, curve_points=0),
    )


if __name__ == "__main__":
    raise SystemExit(main())
