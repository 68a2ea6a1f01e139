"""What the controller makes of a code, of a loss and of somebody else's lease."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.atomic import write_json
from harness.contracts import LOST, Executor, Handle, Resources
from harness.record import LEASE_SECONDS, Failure
from harness.spec import RunSpec
from sweeps.jobs import Jobs
from tests.sweeps.conftest import MakeSweep


class Ended(Handle):
    """A run that ended at once with a code."""

    def __init__(self, code: int) -> None:
        self.code = code

    def poll(self) -> int | None:
        return self.code

    def cancel(self) -> None: ...


class Scripted(Executor):
    """Ends each run with the next code."""

    name, slots, resources, lag_seconds = "scripted", 1, Resources(), 0.0

    def __init__(self, *codes: int, then: Callable[[Path], None] = lambda _: None) -> None:
        self.codes = list(codes)
        self.then = then

    def submit(self, run_directory: Path, resources: Resources) -> Handle:
        (run_directory / "events.jsonl").touch()
        self.then(run_directory)
        return Ended(self.codes.pop(0))

    def close(self) -> None: ...


@pytest.fixture
def spec(make_sweep: MakeSweep) -> RunSpec:
    sweep = make_sweep("[toy-base]", trials=0)
    return sweep.final_specs(sweep.arms[0], sweep.arms[0].component())[0]


def jobs(tmp_path: Path, executor: Executor) -> Jobs:
    return Jobs(tmp_path / "runs", executor, executor.resources)


def test_a_lost_run_goes_on_elsewhere_and_is_given_up_after_five_losses(tmp_path: Path, spec: RunSpec) -> None:
    work = jobs(tmp_path, Scripted(*[LOST] * 5))
    for _ in range(5):
        assert work.look(spec) == "ready"
        work.submit(spec)
    assert work.look(spec) == "failed"
    assert "lost 5 times" in work.directory(spec).read_failure().message


def test_losses_are_not_counted_as_kills(tmp_path: Path, spec: RunSpec) -> None:
    work = jobs(tmp_path, Scripted(LOST, LOST, -9, LOST, -9))
    for _ in range(5):
        assert work.look(spec) == "ready"
        work.submit(spec)
    assert work.look(spec) == "failed"
    assert "killed by signal 9, twice" in work.directory(spec).read_failure().message


def test_a_run_lost_before_it_began_leaves_an_old_failure_behind(tmp_path: Path, spec: RunSpec) -> None:
    work = jobs(tmp_path, Scripted(LOST, 1))
    failure = Failure(phase="train", failure="bug", message="of yesterday", traceback=None, at=0.0)
    work.directory(spec).path.mkdir(parents=True)
    write_json(work.directory(spec).error, failure.model_dump())
    for _ in range(2):
        assert work.look(spec) == "ready"
        work.submit(spec)
    assert work.look(spec) == "failed"


def test_on_another_machine_a_dead_run_waits_for_its_heartbeat(tmp_path: Path, spec: RunSpec) -> None:
    def leave_lease(run_directory: Path) -> None:
        write_json(run_directory / "lease.json", {"host": "elsewhere", "pid": 1, "started": 1.0})

    work = jobs(tmp_path, Scripted(LOST, 0, then=leave_lease))
    work.submit(spec)
    assert work.look(spec) == "busy" and not work.ours(spec) and work.free == 1
    heartbeat = time.time() - LEASE_SECONDS - 1
    os.utime(work.directory(spec).lease, (heartbeat, heartbeat))
    assert work.look(spec) == "ready"


def test_a_result_may_take_its_time_to_be_seen(tmp_path: Path, spec: RunSpec) -> None:
    executor = Scripted(0)
    executor.lag_seconds = 0.3
    work = jobs(tmp_path, executor)
    work.submit(spec)
    assert work.look(spec) == "busy"
    time.sleep(0.35)
    assert work.look(spec) == "failed"
    assert "ended with code 0 and without a result" in work.directory(spec).read_failure().message
