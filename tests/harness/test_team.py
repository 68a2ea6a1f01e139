"""Runs that several processes do together: what they share, whose word goes, and what happens when one of them ends."""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness import team as teams
from harness import worker
from harness.contracts import LOST, Resources
from harness.events import read_events
from harness.executors.local import LocalExecutor
from harness.ranks import ALONE, PeerLost, Ranks
from harness.record import Failure, RunDirectory
from harness.spec import Budget
from harness.trainer_metrics import TrainerMetrics
from harness.training import Training
from harness.worker import DONE, FAILED, PRUNED, work
from tests.conftest import make_spec, place, prepare, run_to_end

TWO = Resources(processes=2)


def together(method: str, runs: Path, **changed: Any) -> RunDirectory:
    prepare()
    directory = place(make_spec(method).model_copy(update=changed), runs)
    assert work(directory.path, TWO) == DONE, directory.error.read_text()
    return directory


def values(directory: RunDirectory) -> list[dict[str, float]]:
    return [event["values"] for event in read_events(directory.events) if event["kind"] == "metrics"]


def test_shares_are_neighbours_and_everything() -> None:
    for count in (0, 1, 2, 7):
        shares = [list(Ranks(rank, 3).share(count)) for rank in range(3)]
        assert [place for share in shares for place in share] == list(range(count))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert ALONE.deal(3, lambda mine: [place * 2 for place in mine]) == [0, 2, 4]
    assert ALONE.deal(0, lambda mine: pytest.fail("there is nothing to do")) == []


class _Peers(Ranks):
    """The first of two processes, whose other one is where the test says."""

    def __init__(self, others: Any) -> None:
        super().__init__(0, 2)
        self.others = others

    def gather(self, mine: Any) -> list[Any]:
        return [mine, self.others]


def test_processes_that_disagree_are_found_out() -> None:
    _Peers("the same").agree("final weights", "the same")
    with pytest.raises(RuntimeError, match="disagree about the final weights"):
        _Peers("other bits").agree("final weights", "the same")


def test_what_a_trainer_notes_is_everybodys() -> None:
    trainer = SimpleNamespace(_metrics={"train": defaultdict(list, {"loss": [1.0]})}, _total_train_tokens=5)
    noted = TrainerMetrics(trainer)
    trainer._metrics["train"]["loss"].append(2.0)
    trainer._metrics["train"]["num_tokens"] = [9]
    trainer._total_train_tokens = 9
    noted.put_together(_Peers(({"loss": [4.0], "num_tokens": [8], "only there": [7.0]}, 3)))  # type: ignore[arg-type]
    assert trainer._metrics["train"] == {"loss": [1.0, 2.0, 4.0], "num_tokens": [12], "only there": [7.0]}
    assert trainer._total_train_tokens == 12


@pytest.mark.parametrize("method", ["sft", "ppo", "context-distillation", "lora+sft", "moe-lora+sft"])
def test_two_halves_of_an_update_are_the_update(method: str, runs: Path, tmp_path: Path) -> None:
    """What is logged too: loss, gradient norm and the parts of the loss are those of the whole batch."""
    alone = run_to_end(make_spec(method), tmp_path / "alone")
    directory = together(method, runs)
    for one, two in zip(values(alone), values(directory), strict=True):
        assert set(one) == set(two)
        for name in {"loss", "grad_norm", "policy_loss", "value_loss", "clip_ratio", "num_tokens", "distance"} & set(
            one
        ):
            assert two[name] == pytest.approx(one[name], rel=1e-3, abs=1e-5), name
    last = values(directory)[-1]
    assert {"loss", "grad_norm"} <= set(last) and ("value_loss" in last) == (method == "ppo")


def test_micro_batches_of_each_process(runs: Path) -> None:
    """Four rows over two processes in two micro-batches each."""
    directory = together("sft", runs, training=Training(accumulation=2))
    assert [stage.micro_batch for stage in directory.read_result().stages] == [1]


def test_the_first_ones_clock_decides(runs: Path) -> None:
    """A budget of seconds is one of all devices together, and all processes end with the same update."""
    directory = together("sft", runs, budget=Budget(device_seconds=1.0))
    result = directory.read_result()
    assert result.stages[0].stopped_by == "device_seconds" and result.meters.steps >= 1
    assert 1.0 <= result.meters.device_seconds < 10.0


def test_the_sweep_prunes_all_of_a_run(runs: Path) -> None:
    prepare()
    directory = place(make_spec("sft", steps=100_000), runs)
    directory.prune.touch()
    assert work(directory.path, TWO) == PRUNED


def work_and_save(path: Path, resources: Resources) -> int:
    """A checkpoint after every update."""
    return work(path, resources, checkpoint_seconds=0.0)


def kill_at_a_checkpoint(directory: RunDirectory, executor: LocalExecutor) -> None:
    handle = executor.submit(directory.path)
    while not any(directory.checkpoint.glob("stage-0/checkpoint-*/state.json")):
        assert handle.poll() is None
        time.sleep(0.002)
    os.kill(handle.pid, signal.SIGKILL)
    while (code := handle.poll()) is None:
        time.sleep(0.01)
    assert code == -signal.SIGKILL, "the run ended before it could be killed"


def test_a_killed_run_of_two_goes_on_as_one_that_was_not(runs: Path, tmp_path: Path) -> None:
    whole = together("sft", tmp_path / "whole", budget=Budget(steps=40))
    directory = place(make_spec("sft", steps=40), runs)
    executor = LocalExecutor(1, work_and_save, threads=1, gpus=0, processes=2)
    kill_at_a_checkpoint(directory, executor)
    handle = executor.submit(directory.path)
    while (code := handle.poll()) is None:
        time.sleep(0.01)
    executor.close()
    assert code == DONE, (directory.path / "output.log").read_text()
    assert directory.read_result().resumed == 1
    assert directory.read_result().weights_digest == whole.read_result().weights_digest


def die(copy: RunDirectory, resources: Resources, ranks: Ranks) -> Failure | None:
    os.kill(os.getpid(), signal.SIGKILL)
    return None


def fail(copy: RunDirectory, resources: Resources, ranks: Ranks) -> Failure | None:
    return Failure(phase="stage 0", failure="oom", message="no room here", traceback=None, at=0.0)


def test_a_killed_process_is_a_lost_machine(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller then submits the run again, and it goes on from its checkpoint."""
    prepare()
    monkeypatch.setattr(worker, "follow", die)
    directory = place(make_spec("sft"), runs)
    assert work(directory.path, TWO) == LOST
    assert not directory.error.exists() and not directory.lease.exists()


def test_what_another_process_fails_by_is_what_the_run_fails_by(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare()
    monkeypatch.setattr(worker, "follow", fail)
    directory = place(make_spec("sft"), runs)
    assert work(directory.path, TWO) == FAILED
    failure = directory.read_failure()
    assert (failure.failure, failure.message) == ("oom", "no room here")


def test_a_process_that_ends_before_it_joins_is_not_waited_for(runs: Path) -> None:
    """Its copy of the run cannot be made: there is no spec to copy."""
    prepare()
    directory = place(make_spec("base"), runs)
    directory.spec.unlink()
    assert work(directory.path, TWO) == LOST
    assert not directory.lease.exists()


def sum_of_ranks(copy: RunDirectory, resources: Resources, ranks: Ranks) -> Failure | None:
    assert ranks.first("mine") == "theirs"
    tensors = [torch.full((3,), 1.0), torch.full((2, 2), 2.0, dtype=torch.float64)]
    ranks.add(tensors)
    found = ranks.gather([float(one.sum()) for one in tensors])
    return None if found[0] == found[1] else fail(copy, resources, ranks)


def test_what_is_sent_between_processes(runs: Path) -> None:
    prepare()
    directory = place(make_spec("base"), runs)
    with teams.team(directory, TWO, sum_of_ranks) as made:
        assert made.ranks.first("theirs") == "theirs"
        tensors = [torch.full((3,), 10.0), torch.full((2, 2), 20.0, dtype=torch.float64)]
        made.ranks.add(tensors)
        assert torch.equal(tensors[0], torch.full((3,), 11.0)) and tensors[1].dtype == torch.float64
        assert made.ranks.gather([33.0, 88.0]) == [[33.0, 88.0]] * 2
        assert not torch.distributed.is_initialized()
        with pytest.raises(PeerLost):  # the other one has ended
            made.ranks.gather(None)
        assert made.why() is None
