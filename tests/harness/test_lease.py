"""Exactly one process works on a run, and a dead one is noticed."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from harness import lease
from harness.atomic import write_json
from harness.lease import Lease, LeaseHeld, age
from harness.record import LEASE_SECONDS

NO_PROCESS = 2**22 + 1  # above the largest process number of Linux


def test_a_held_lease_refuses_others_and_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    with Lease(path):
        assert age(path) is not None
        with pytest.raises(LeaseHeld), Lease(path):
            pass
    assert age(path) is None
    with Lease(path):
        pass


def test_the_lease_of_a_killed_process_is_taken_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    child = os.fork()
    if child == 0:
        with Lease(path):
            time.sleep(60)
        os._exit(0)
    while not path.exists():
        time.sleep(0.01)
    with pytest.raises(LeaseHeld), Lease(path):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert age(path) == float("inf")
    with Lease(path):
        pass


def test_of_many_claims_at_once_one_wins(tmp_path: Path) -> None:
    path, go = tmp_path / "lease.json", time.time() + 0.5
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            time.sleep(max(0.0, go - time.time()))
            try:
                with Lease(path):
                    until = time.time() + 60  # the winner holds it until all others have tried
                    while len(list(tmp_path.glob("lost-*"))) < 7 and time.time() < until:
                        time.sleep(0.01)
                os._exit(0)
            except LeaseHeld:
                (tmp_path / f"lost-{os.getpid()}").touch()
                os._exit(7)
        children.append(child)
    codes = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    assert codes == [0, *[7] * 7]


def written(path: Path, seconds_ago: float = 0.0, **holder: object) -> Path:
    """A lease that another process might have left."""
    write_json(path, {"host": "elsewhere", "pid": NO_PROCESS, "started": 1.0, **holder})
    heartbeat = time.time() - seconds_ago
    os.utime(path, (heartbeat, heartbeat))
    return path


def started() -> float:
    return float(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])


def test_a_lease_says_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / "lease.json"
    with Lease(path):
        holder = json.loads(path.read_text())
    assert holder.pop("claim")
    assert holder.pop("machine") == lease._machine()
    assert holder == {"host": socket.gethostname(), "pid": os.getpid(), "started": started()}


def test_no_lease_has_no_age(tmp_path: Path) -> None:
    assert age(tmp_path / "lease.json") is None


def test_on_another_host_only_the_heartbeat_counts(tmp_path: Path) -> None:
    path = written(tmp_path / "lease.json", seconds_ago=LEASE_SECONDS - 10)
    with pytest.raises(LeaseHeld), Lease(path):
        pass
    assert json.loads(path.read_text())["host"] == "elsewhere"
    with Lease(written(path, seconds_ago=LEASE_SECONDS + 10)):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_process_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    path = written(tmp_path / "lease.json", host=socket.gethostname())
    assert age(path) == float("inf")
    with Lease(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_machine_of_the_same_name_is_another_machine(tmp_path: Path) -> None:
    """As containers are; its processes cannot be looked at from here, so only the heartbeat counts."""
    holder = {"host": socket.gethostname(), "machine": "another"}
    path = written(tmp_path / "lease.json", seconds_ago=LEASE_SECONDS - 10, **holder)
    with pytest.raises(LeaseHeld), Lease(path):
        pass
    with Lease(written(path, seconds_ago=LEASE_SECONDS + 10, **holder)):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_clock_that_is_ahead_takes_no_lease_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "lease.json", seconds_ago=10)
    now = time.time()
    monkeypatch.setattr(lease.time, "time", lambda: now + 3600)
    assert age(path) > LEASE_SECONDS  # type: ignore[operator]
    with pytest.raises(LeaseHeld), Lease(path):
        pass


def test_only_the_lease_of_a_dead_process_of_this_machine_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    lease.give_back(path)
    with Lease(path):
        lease.give_back(path)
        assert path.exists()
    lease.give_back(written(path))
    assert path.exists()
    lease.give_back(written(path, host=socket.gethostname()))
    assert not path.exists()


def test_another_process_of_the_same_number_is_not_the_holder(tmp_path: Path) -> None:
    path = written(tmp_path / "lease.json", host=socket.gethostname(), pid=os.getpid(), started=started() - 1)
    assert age(path) == float("inf")
    assert age(written(path, host=socket.gethostname(), pid=os.getpid(), started=started())) < LEASE_SECONDS  # type: ignore[operator]


@pytest.mark.parametrize("text", ["", "{", '{"host": "else'])
def test_a_lease_that_cannot_be_read_holds_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lease.json"
    path.write_text(text)
    with Lease(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_the_heart_beats_while_the_work_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_BEAT_SECONDS", 0.02)
    path = tmp_path / "lease.json"
    with Lease(path):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 5
        while (age(path) or 0) > LEASE_SECONDS and time.monotonic() < deadline:
            time.sleep(0.01)
        assert age(path) < LEASE_SECONDS  # type: ignore[operator]


def test_a_failure_gives_the_lease_back(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    with pytest.raises(RuntimeError, match="broke"), Lease(path):
        raise RuntimeError("it broke")
    assert age(path) is None


def test_a_lease_that_was_taken_over_is_left_to_its_new_holder(tmp_path: Path) -> None:
    """A process that slept through its lease wakes up and ends: the one at work now keeps its claim."""
    path = tmp_path / "lease.json"
    with Lease(path):
        written(path)
    assert age(path) is not None
