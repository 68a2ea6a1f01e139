"""A controller or a worker killed at any moment: the same trials, nothing finished is repeated, no orphans."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from harness.record import all_runs
from harness.sweep_record import SweepRecord
from tests.sweeps.conftest import sweep_text

ROOT = Path(__file__).parents[2]
METHODS = "[toy-base, {name: toy-rate, seconds: 0.4}, {name: toy-rate, seconds: 0.5, as: slow}]"


def start(file: Path, runs: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.sweeps.controller_process", str(file), str(runs)]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def finish(file: Path, runs: Path) -> SweepRecord:
    process = start(file, runs)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    return SweepRecord.model_validate_json((runs / "sweeps" / "toy" / "sweep.json").read_text())


def wait_for(condition: object, seconds: float = 30.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)


def starts(runs: Path) -> list[tuple[str, int]]:
    log = runs / "starts.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [(line.split()[0], int(line.split()[1])) for line in lines]


def finished(runs: Path) -> set[str]:
    return {directory.path.name for directory in all_runs(runs) if directory.result.exists()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> SweepRecord:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "toy.yaml").write_text(sweep_text(METHODS, trials=3))
    return finish(folder / "toy.yaml", folder / "runs")


@pytest.mark.parametrize("after", [1, 3, 6])
def test_kill_9_of_the_controller(tmp_path: Path, undisturbed: SweepRecord, after: int) -> None:
    file, runs = tmp_path / "toy.yaml", tmp_path / "runs"
    file.write_text(sweep_text(METHODS, trials=3))
    process = start(file, runs)
    wait_for(lambda: len(starts(runs)) >= after)
    process.kill()
    process.wait()
    workers = {pid for _, pid in starts(runs)}
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 10.0)
    done = finished(runs)
    assert finish(file, runs) == undisturbed
    begun = Counter(run_id for run_id, _ in starts(runs))
    assert all(begun[run_id] == 1 for run_id in done) and max(begun.values()) <= 2


def test_kill_9_of_a_worker(tmp_path: Path, undisturbed: SweepRecord) -> None:
    file, runs = tmp_path / "toy.yaml", tmp_path / "runs"
    file.write_text(sweep_text(METHODS, trials=3))
    process = start(file, runs)
    wait_for(lambda: len(starts(runs)) >= 4)
    victim, pid = starts(runs)[-1]
    os.kill(pid, signal.SIGKILL)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    record = SweepRecord.model_validate_json((runs / "sweeps" / "toy" / "sweep.json").read_text())
    assert record == undisturbed
    assert Counter(run_id for run_id, _ in starts(runs))[victim] == 2


def test_ctrl_c_cancels_and_the_same_command_goes_on(tmp_path: Path, undisturbed: SweepRecord) -> None:
    file, runs = tmp_path / "toy.yaml", tmp_path / "runs"
    file.write_text(sweep_text(METHODS, trials=3))
    process = start(file, runs)
    wait_for(lambda: len(starts(runs)) >= 4)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole foreground group
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in errors
    assert not any(Path(f"/proc/{pid}").exists() for _, pid in starts(runs))
    assert not (runs / "sweeps" / "toy" / "lease.json").exists()
    assert not list(runs.rglob("error.json"))
    done = finished(runs)
    assert finish(file, runs) == undisturbed
    begun = Counter(run_id for run_id, _ in starts(runs))
    assert all(begun[run_id] == 1 for run_id in done)


def test_a_second_controller_is_refused(tmp_path: Path) -> None:
    file, runs = tmp_path / "toy.yaml", tmp_path / "runs"
    file.write_text(sweep_text(METHODS, trials=3))
    first = start(file, runs)
    wait_for(lambda: len(starts(runs)) >= 1)
    second = start(file, runs)
    _, errors = second.communicate(timeout=30)
    assert second.returncode == 2 and errors.count("\n") == 1
    assert f"is being run by process {first.pid}" in errors and "beyondrl watch toy" in errors
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=30)


def test_runs_are_whole_json_after_a_kill(tmp_path: Path) -> None:
    file, runs = tmp_path / "toy.yaml", tmp_path / "runs"
    file.write_text(sweep_text(METHODS, trials=3))
    process = start(file, runs)
    wait_for(lambda: len(finished(runs)) >= 3)
    process.kill()
    process.wait()
    for path in runs.rglob("*.json"):
        assert isinstance(json.loads(path.read_text()), dict)
