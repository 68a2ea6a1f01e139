"""A sweep on two Ray nodes with its study in PostgreSQL, a worker, a node and the controller killed on the way: the
same rows as those of an undisturbed sweep on this machine, and nothing that was finished is done again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.record import RunDirectory, all_runs
from results.database import query
from tests.cluster.conftest import Nodes

ROOT = Path(__file__).parents[2]
SWEEP = """
name: small
model: lab
task: {name: countdown, level: L2}
methods:
  - base
  - {name: sft, examples: 64, search: {learning_rate: {low: 5.0e-4, high: 2.0e-3, log: true, start: 1.0e-3}}}
  - name: lora-es
    population: 8
    prompts: 8
    examples: 64
    search: {sigma: {low: 0.02, high: 0.2, log: true, start: 0.05}}
budget: {flops: 5.0e+9}
tune: {trials: 2, items: 30, seeds: [100]}
final: {seeds: 2, items: 60, on: test}
evaluation: {max_new_tokens: 32, curve_points: 2, curve_items: 20}
resources: {threads: 1}
"""
TIMES = {
    "runs": (
        "train_seconds", "generate_seconds", "evaluate_seconds", "overhead_seconds", "processor_seconds",
        "device_seconds", "peak_memory_bytes", "started_at", "finished_at",
        "resumed", "content_hash",  # what tells that a run was taken up again
    ),
    "stages": ("train_seconds", "generate_seconds", "device_seconds"),
    "metrics": ("device_seconds",),
    "curve": ("device_seconds",),
    "sweeps": ("commands", "source"),  # where it ran
}  # fmt: skip
TABLES = ("runs", "stages", "metrics", "curve", "samples", "environments", "sweeps", "arms", "trials", "finals")


def command(folder: Path, *options: str) -> list[str]:
    places = ["--runs", str(folder / "runs"), "--database", str(folder / "rows.duckdb"), "--out", str(folder / "out")]
    return [sys.executable, "-m", "cli.main", "sweep", str(folder / "small.yaml"), *places, *options]


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words, pipe = command(folder, *options), subprocess.PIPE
    return subprocess.Popen(words, cwd=ROOT, env=environment, text=True, stdout=pipe, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output


def rows(folder: Path, table: str) -> list[str]:
    left_out = TIMES.get(table, ())
    selected = f"* EXCLUDE ({', '.join(left_out)})" if left_out else "*"
    _, found = query(folder / "rows.duckdb", f"SELECT {selected} FROM {table} ORDER BY ALL")
    return [json.dumps(row, default=str) for row in found]


def worker_of_a_run(folder: Path, finished: int, process: subprocess.Popen[str]) -> tuple[RunDirectory, psutil.Process]:
    """A run at work, and the process of Ray that watches it, once `finished` runs are done."""

    def find() -> tuple[RunDirectory, psutil.Process] | None:
        runs = all_runs(folder / "runs")
        if sum(one.result.exists() for one in runs) < finished:
            return None
        for one in runs:
            try:
                if one.events.exists() and not one.result.exists():
                    above = psutil.Process(json.loads(one.lease.read_text())["pid"]).parents()
                    watchers = [parent for parent in above if "ray::" in " ".join(parent.cmdline())]
                    if watchers:  # a run whose watcher was just killed has a moment left to live
                        return one, watchers[0]
            except (OSError, psutil.NoSuchProcess):
                continue
        return None

    return wait_for(find, process)


def wait_for(find: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    deadline = time.monotonic() + 600
    while (found := find()) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"it never came to that; the sweep said: {process.communicate()[0]}")
        time.sleep(0.005)
    return found


@pytest.mark.cluster
def test_kill_9_of_a_worker_a_node_and_the_controller(nodes: Nodes, database: str, tmp_path: Path) -> None:
    quiet, disturbed = tmp_path / "quiet", tmp_path / "disturbed"
    for folder, more in ((quiet, ""), (disturbed, f"storage: {database}\n")):
        folder.mkdir()
        (folder / "small.yaml").write_text(SWEEP + more)
    options = ("--executor", "ray", "--ray-address", nodes.address)
    process = start(disturbed, *options)
    victims = []

    run, worker = worker_of_a_run(disturbed, 1, process)
    worker.kill()
    victims.append(run)

    run, worker = worker_of_a_run(disturbed, 3, process)
    nodes.kill(worker)
    victims.append(run)

    worker_of_a_run(disturbed, 5, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = {one.result: one.result.read_bytes() for one in all_runs(disturbed / "runs") if one.result.exists()}
    assert len(before) >= 5
    finish(start(disturbed, *options))

    finish(start(quiet))
    for table in TABLES:
        assert rows(disturbed, table) == rows(quiet, table), table
    assert rows(quiet, "samples") and len(rows(quiet, "finals")) == 6 and len(rows(quiet, "trials")) == 4
    for path, content in before.items():
        assert path.read_bytes() == content
    for victim in victims:
        assert victim.read_result().resumed >= 1
