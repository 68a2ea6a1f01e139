"""The local executor with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest

from harness.contracts import Executor, Handle, Resources
from harness.errors import UserError
from harness.executors.choice import LocalChoice, RunResources
from harness.executors.local import LocalExecutor
from harness.fork_server import modules
from harness.registry import methods, tasks


def say(run_directory: Path, resources: Resources) -> int:
    print("hello")
    print("trouble", file=sys.stderr)
    (run_directory / "seen").write_text(
        f"{resources.threads} {os.environ['OMP_NUM_THREADS']} {os.getpgrp() == os.getpid()}"
    )
    return 3


def sleep(run_directory: Path, resources: Resources) -> int:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (run_directory / "pids").write_text(f"{os.getpid()} {child.pid}")
    time.sleep(60)
    return 0


def stubborn(run_directory: Path, resources: Resources) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (run_directory / "pids").write_text(str(os.getpid()))
    time.sleep(60)
    return 0


def end(handle: Handle) -> int:
    while handle.poll() is None:
        time.sleep(0.005)
    code = handle.poll()
    assert code is not None
    return code


def alive(pid: str) -> bool:
    """Whether a process is there and has not ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(run_directory: Path) -> bool:
    """Whether every process of a run has ended; one that was sent its signal a moment ago is given time to die."""
    deadline = time.monotonic() + 20
    pids = (run_directory / "pids").read_text().split()
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.005)
    return not any(alive(pid) for pid in pids)


def wait_for_pids(run_directory: Path) -> None:
    while not (run_directory / "pids").exists() or not (run_directory / "pids").read_text():
        time.sleep(0.005)


def test_waiting_ends_as_soon_as_a_run_does(tmp_path: Path) -> None:
    executor = LocalExecutor(2, work=sleep)
    handle = executor.submit(tmp_path / "a", Resources())
    wait_for_pids(tmp_path / "a")
    began = time.monotonic()
    handle.cancel()
    executor.wait(60)
    assert time.monotonic() - began < 20
    assert handle.poll() == -signal.SIGTERM
    executor.close()


def test_the_fork_server_loads_every_method_and_task() -> None:
    loaded = set(modules())
    own = {entry.module for entry in [*methods().values(), *tasks().values()] if not entry.module.startswith("tests.")}
    assert len(own) > 50 and own <= loaded


def test_a_run_has_its_own_process_log_and_threads(tmp_path: Path) -> None:
    executor = LocalExecutor(2, work=say)
    assert isinstance(executor, Executor)
    assert end(executor.submit(tmp_path / "a", Resources(threads=1))) == 3
    assert sorted((tmp_path / "a" / "output.log").read_text().split()) == ["hello", "trouble"]
    assert (tmp_path / "a" / "seen").read_text() == "1 1 True"
    executor.close()


def test_a_run_starts_quickly(tmp_path: Path) -> None:
    executor = LocalExecutor(1, work=say)
    end(executor.submit(tmp_path / "warm"))
    seconds = []
    for name in ("a", "b", "c"):  # the quickest tells: the machine may be busy
        started = time.monotonic()
        end(executor.submit(tmp_path / name))
        seconds.append(time.monotonic() - started)
    assert min(seconds) < 1.0
    executor.close()


def test_never_more_than_its_slots(tmp_path: Path) -> None:
    executor = LocalExecutor(1, work=sleep)
    handle = executor.submit(tmp_path / "a")
    with pytest.raises(RuntimeError, match="slots are taken"):
        executor.submit(tmp_path / "b")
    wait_for_pids(tmp_path / "a")
    executor.close()
    assert handle.poll() == -signal.SIGTERM and gone(tmp_path / "a")


def test_a_kill_shows_as_its_signal_and_takes_children_along(tmp_path: Path) -> None:
    executor = LocalExecutor(1, work=sleep)
    handle = executor.submit(tmp_path / "a")
    wait_for_pids(tmp_path / "a")
    os.kill(handle.pid, signal.SIGKILL)
    assert end(handle) == -signal.SIGKILL
    assert gone(tmp_path / "a")
    executor.close()


def test_closing_kills_what_does_not_listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.executors.local._GRACE_SECONDS", 0.3)
    executor = LocalExecutor(1, work=stubborn)
    executor.submit(tmp_path / "a")
    wait_for_pids(tmp_path / "a")
    executor.close()
    assert gone(tmp_path / "a")


def test_the_fork_server_can_be_begun_before_the_first_run(tmp_path: Path) -> None:
    executor = LocalExecutor(1, work=say)
    executor.prepare()
    begun = forkserver._forkserver._forkserver_pid
    assert begun is not None and end(executor.submit(tmp_path / "a", Resources(threads=1))) == 3
    assert forkserver._forkserver._forkserver_pid == begun
    executor.close()


def test_one_process_has_all_gpus_over_which_its_model_is_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.executors.local.visible_gpus", lambda: ("0", "1", "2", "3"))
    wanted = RunResources(threads=1, tensor_parallel=2).checked("vllm")
    executor = LocalChoice().open(wanted, None, Path())
    assert executor.slots == 2 and executor.resources == Resources(1, gpus=2, processes=1, tensor_parallel=2)
    assert wanted.model_copy(update={"gpus": 2, "processes": 1}).checked("vllm").together == 1


def test_slots_and_threads() -> None:
    cores = len(os.sched_getaffinity(0))
    assert LocalExecutor().slots == cores or LocalExecutor().devices
    assert LocalExecutor(1).resources.threads == cores
    assert LocalExecutor(10 * cores).resources.threads == 1
    assert LocalExecutor(1, processes=cores).resources == Resources(threads=1, processes=cores)
    assert LocalExecutor(processes=cores, gpus=0).slots == 1
    spread = LocalExecutor(gpus=0, tensor_parallel=cores)
    assert spread.slots == 1 and spread.resources == Resources(threads=1, tensor_parallel=cores)
    with pytest.raises(UserError, match="slots=0 is not possible"):
        LocalExecutor(0)
