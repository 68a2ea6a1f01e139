"""The fixed cost of a run: the time from handing a run to the executor until its process has ended, less its work.

Work is what the run's own meters call train, generate and evaluate. Runs follow one another in one slot, so nothing
competes. Usage: python benchmarks/overhead.py [RUNS]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from harness.executors.local import LocalExecutor
from harness.models import load_model
from harness.record import RunDirectory
from harness.registry import find_method, find_task
from harness.spec import Budget, EvaluationProtocol, RunSpec

METHODS: dict[str, dict[str, object]] = {
    "base": {},
    "sft": {"examples": 64},
    "grpo": {"examples": 64, "prompts_per_step": 4, "group_size": 4},
    "lora-es": {"examples": 64, "prompts": 4, "population": 4},
}
LIMIT = 1.5
"""Seconds a run may cost beyond its work."""


def main(runs: int) -> int:
    """Print the median overhead of each method; exit code 1 if one is above the limit."""
    executor = LocalExecutor(1)
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, parameters in METHODS.items():
            found = [_overhead(executor, _spec(name, parameters, seed), Path(folder)) for seed in range(runs + 1)]
            median = statistics.median(found[1:])  # the first run of all starts the fork server
            worst = max(worst, median)
            print(f"{name:8} {median:.2f} s  ({min(found[1:]):.2f} to {max(found[1:]):.2f} over {runs} runs)")
    executor.close()
    print(f"limit    {LIMIT:.2f} s: {'kept' if worst <= LIMIT else 'broken'}")
    return int(worst > LIMIT)


def _spec(method: str, parameters: dict[str, object], seed: int) -> RunSpec:
    return RunSpec(
        method=find_method(method).resolve(parameters),
        task=find_task("countdown").resolve({"level": "L2"}),
        model=load_model("lab").reference(),
        budget=Budget(steps=2),
        seed=seed,
        evaluation=EvaluationProtocol(split="val", items=50, curve_points=0),
    )


def _overhead(executor: LocalExecutor, spec: RunSpec, runs: Path) -> float:
    directory = RunDirectory.of(runs, spec)
    directory.path.mkdir(parents=True)
    directory.spec.write_text(spec.model_dump_json())
    started = time.perf_counter()
    handle = executor.submit(directory.path)
    while handle.poll() is None:
        time.sleep(0.005)
    elapsed = time.perf_counter() - started
    meters = directory.read_result().meters
    return elapsed - meters.device_seconds - meters.evaluate_seconds


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
