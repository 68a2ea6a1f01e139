"""What the controller relies on, of every executor: a code, a signal, a loss; nothing outlives its watcher."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from harness.atomic import write_json
from harness.contracts import LOST, Executor, Resources
from harness.errors import UserError
from harness.executors import node
from harness.executors.choice import RayChoice, RunResources, SlurmChoice
from harness.executors.local import LocalExecutor, Work
from harness.lease import Lease, age
from tests.sweeps.test_local_executor import end, gone, say, sleep, wait_for_pids

MakeExecutor = Callable[[Work], Executor]
CLUSTERS = [pytest.param("ray", marks=pytest.mark.cluster), "slurm"]


@pytest.fixture
def make_executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeExecutor]:
    opened: list[Executor] = []

    def make(work: Work) -> Executor:
        executor: Executor
        if request.param == "local":
            executor = LocalExecutor(2, work)
        elif request.param == "ray":
            from harness.executors.ray import RayExecutor

            executor = RayExecutor(request.getfixturevalue("nodes").address, Resources(), work=work)
        else:
            pytest.importorskip("submitit", reason="submitit is not installed")
            from harness.executors.slurm import SlurmExecutor

            executor = SlurmExecutor(tmp_path / "slurm", SlurmChoice(), Resources(), 2, work, cluster="local")
        opened.append(executor)
        return executor

    yield make
    for executor in opened:
        executor.close()


every = pytest.mark.parametrize("make_executor", ["local", *CLUSTERS], indirect=True)
clusters = pytest.mark.parametrize("make_executor", CLUSTERS, indirect=True)


def run(tmp_path: Path, name: str = "a") -> Path:
    """The directory of a run, as the controller makes it."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "spec.json").write_text("{}")
    return tmp_path / name


def leased(run_directory: Path, resources: Resources) -> int:
    with Lease(run_directory / "lease.json"):
        return sleep(run_directory, resources)


@every
def test_waiting_ends_when_its_time_is_over_or_a_run_has_ended_once(
    tmp_path: Path, make_executor: MakeExecutor
) -> None:
    executor = make_executor(sleep)
    handle = executor.submit(run(tmp_path), executor.resources)
    wait_for_pids(tmp_path / "a")
    assert took(lambda: executor.wait(0.2)) > 0.15
    assert handle.poll() is None
    handle.cancel()
    rounds = 0
    while handle.poll() is None:
        executor.wait(0.5)
        rounds += 1
    assert rounds < 40  # it does wait
    executor.wait(0.0)
    assert took(lambda: executor.wait(0.2)) > 0.15, "the end of one run is not told again and again"


def took(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


@every
def test_a_run_has_its_code_log_and_threads(tmp_path: Path, make_executor: MakeExecutor) -> None:
    executor = make_executor(say)
    assert isinstance(executor, Executor) and executor.slots == 2
    assert end(executor.submit(run(tmp_path), Resources(threads=1))) == 3
    assert sorted((tmp_path / "a" / "output.log").read_text().split()) == ["hello", "trouble"]
    assert (tmp_path / "a" / "seen").read_text() == "1 1 True"


@every
def test_a_killed_run_shows_its_signal_and_a_cancelled_one_ends(tmp_path: Path, make_executor: MakeExecutor) -> None:
    executor = make_executor(leased)
    killed, cancelled = run(tmp_path, "killed"), run(tmp_path, "cancelled")
    handles = [executor.submit(directory, executor.resources) for directory in (killed, cancelled)]
    for directory in (killed, cancelled):
        wait_for_pids(directory)
    os.kill(int((killed / "pids").read_text().split()[0]), signal.SIGKILL)
    handles[1].cancel()
    assert end(handles[0]) == -signal.SIGKILL and gone(killed)
    assert end(handles[1]) in (-signal.SIGTERM, LOST) and gone(cancelled)
    for directory in (killed, cancelled):
        assert age(directory / "lease.json") in (None, float("inf"))


@every
def test_closing_ends_what_runs(tmp_path: Path, make_executor: MakeExecutor) -> None:
    executor = make_executor(sleep)
    executor.submit(run(tmp_path), executor.resources)
    wait_for_pids(tmp_path / "a")
    executor.close()
    assert gone(tmp_path / "a")


@clusters
def test_a_run_ends_with_its_watcher_and_is_lost(tmp_path: Path, make_executor: MakeExecutor) -> None:
    executor = make_executor(sleep)
    handle = executor.submit(run(tmp_path), executor.resources)
    wait_for_pids(tmp_path / "a")
    _, watcher, *_ = psutil.Process(int((tmp_path / "a" / "pids").read_text().split()[0])).parents()
    watcher.kill()
    assert end(handle) == LOST
    assert gone(tmp_path / "a")


def test_a_lease_is_given_back_for_a_run_that_died_here(tmp_path: Path) -> None:
    """Other machines would wait for its heartbeat."""
    directory = run(tmp_path)
    code = node.run_on_node(str(directory), Resources(), die_with_lease, str(tmp_path))
    assert code == -signal.SIGKILL and not (directory / "lease.json").exists()
    write_json(directory / "lease.json", {"host": "elsewhere", "pid": 1, "started": 1.0})
    assert node.run_on_node(str(directory), Resources(), say, str(tmp_path)) == 3
    assert (directory / "lease.json").exists()


def die_with_lease(run_directory: Path, resources: Resources) -> int:
    with Lease(run_directory / "lease.json"):
        os.kill(os.getpid(), signal.SIGKILL)
    return 0


def test_a_node_that_cannot_see_the_directory_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "_APPEARS_SECONDS", 0.1)
    outcome = node.run_on_node(str(tmp_path / "nowhere"), Resources(), say, str(tmp_path))
    assert isinstance(outcome, str) and str(tmp_path / "nowhere") in outcome and outcome.count(". ") == 0
    assert "cannot see" in outcome and not (tmp_path / "nowhere").exists()


@pytest.mark.cluster
def test_ray_refuses_what_no_node_has(nodes: object, tmp_path: Path) -> None:
    address = nodes.address  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"2 threads and 0 GPUs, and no node of the Ray cluster has them: .*1 threads"):
        RayChoice(address=address).open(RunResources(threads=2), None, tmp_path)
    import ray

    ray.shutdown()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:6379", "nonsense"])
def test_a_ray_cluster_that_is_not_there_is_one_sentence(tmp_path: Path, address: str) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (make test-cluster)")
    with pytest.raises(UserError, match=f"There is no Ray cluster to be reached at '{address}' "):
        RayChoice(address=address).open(RunResources(), None, tmp_path)


def test_slurm_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed")
    with pytest.raises(UserError, match="Slurm is not here"):
        SlurmChoice().open(RunResources(), None, tmp_path)


@pytest.mark.parametrize(("choice", "package"), [(RayChoice(), "ray"), (SlurmChoice(), "submitit")])
def test_a_package_that_is_missing_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: RayChoice | SlurmChoice, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        UserError, match=rf"is not installed: pip install 'beyondrl\[{choice.name}\]', here and on every"
    ):
        choice.open(RunResources(), None, tmp_path)
