"""ZeRO: the optimiser's state, and in stage 2 the gradients, lie in one process each, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import team as teams
from harness.contracts import Resources
from harness.executors.local import LocalExecutor
from harness.ranks import Ranks
from harness.record import Failure, RunDirectory
from harness.sharded_state import ShardedState, owners
from harness.spec import Budget
from harness.worker import DONE, FAILED, work
from tests.conftest import make_spec, place, prepare
from tests.harness.test_team import TWO, kill_at_a_checkpoint, together, values, work_and_save

SHARDED = Resources(processes=2, zero_stage=1)


def sharded(method: str, runs: Path, stage: int = 1, **changed: Any) -> RunDirectory:
    prepare()
    directory = place(make_spec(method).model_copy(update=changed), runs)
    assert work(directory.path, replace(SHARDED, zero_stage=stage)) == DONE, directory.error.read_text()
    return directory


def test_owners_have_nearly_as_much() -> None:
    assert owners([8, 1, 1, 4, 2], 2) == [0, 1, 1, 1, 1]
    assert owners([], 2) == [] and owners([5], 3) == [0]
    sizes = [(7 * place) % 23 + 1 for place in range(40)]
    whose = owners(sizes, 4)
    held = [sum(size for size, owner in zip(sizes, whose, strict=True) if owner == rank) for rank in range(4)]
    assert max(held) - min(held) <= min(sizes) and sum(held) == sum(sizes)


@pytest.mark.parametrize(
    "method",
    ["sft", "galore+sft", "muon+sft", "adafactor+sft", "adam-mini+sft", "lora+lora-plus+sft",
     "adalora+sft", "cont-squeeze+sft", "ppo", "context-distillation"],
)  # fmt: skip
def test_weights_are_bit_for_bit_those_of_whole_states(method: str, runs: Path, tmp_path: Path) -> None:
    """Of whole gradients too: two processes with a micro-batch each make the same sums in the same order."""
    whole = together(method, tmp_path / "whole")
    for stage in (1, 2):
        directory = sharded(method, runs / str(stage), stage)
        assert directory.read_result().weights_digest == whole.read_result().weights_digest, stage
        assert directory.read_result().meters.steps == whole.read_result().meters.steps
        assert values(directory) == values(whole), stage


def held(ranks: Ranks) -> tuple[int, list[torch.Tensor], torch.optim.Optimizer]:
    """Elements of state after two updates of three tensors, the tensors, and the optimiser put together again."""
    tensors = [torch.full((size,), 1.0, requires_grad=True) for size in (6, 4, 2)]
    optimiser = torch.optim.AdamW([{"params": tensors[:2]}, {"params": tensors[2:], "lr": 0.5}], lr=0.1)
    state = ShardedState(optimiser, ranks)
    state.divide()
    for update in (1.0, 2.0):
        for number, tensor in enumerate(tensors):
            tensor.grad = torch.full_like(tensor, update + number)
        optimiser.step()
        state.spread()
    elements = sum(one["exp_avg"].numel() for one in optimiser.state.values())
    state.put_together()
    return elements, tensors, optimiser


def hold_a_part(copy: RunDirectory, resources: Resources, ranks: Ranks) -> Failure | None:
    elements, _, optimiser = held(ranks)
    assert elements == 6 and [len(group["params"]) for group in optimiser.param_groups] == [1, 1]
    return None


def test_each_process_holds_its_part_and_a_checkpoint_the_whole(runs: Path) -> None:
    prepare()
    directory = place(make_spec("base"), runs)
    _, alone, plain = held(Ranks())
    with teams.team(directory, TWO, hold_a_part) as made:
        elements, tensors, optimiser = held(made.ranks)
    assert elements == 6
    assert all(torch.equal(one, other) for one, other in zip(tensors, alone, strict=True))
    here, there = optimiser.state_dict(), plain.state_dict()
    assert here["param_groups"] == there["param_groups"]
    for number, state in there["state"].items():
        assert all(torch.equal(value, here["state"][number][name]) for name, value in state.items())


def test_a_killed_run_goes_on_with_the_state_whole_or_spread(runs: Path, tmp_path: Path) -> None:
    """What two processes wrote with their state spread is taken up by two that spread it, by two that spread gradients
    too, and by two that spread nothing."""
    whole = together("sft", tmp_path / "whole", budget=Budget(steps=20))
    for again in (SHARDED, replace(SHARDED, zero_stage=2), TWO):
        directory = place(make_spec("sft", steps=20), runs / str(again.zero_stage))
        executor = LocalExecutor(1, work_and_save, threads=1, gpus=0, processes=2, zero_stage=1)
        kill_at_a_checkpoint(directory, executor)
        executor.close()
        assert work(directory.path, again) == DONE, directory.error.read_text()
        assert directory.read_result().resumed == 1
        assert directory.read_result().weights_digest == whole.read_result().weights_digest


def test_processes_that_part_are_found_out(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ShardedState.spread

    def crooked(state: ShardedState) -> None:
        honest(state)
        state._tensors[0].data.add_(1e-3)

    monkeypatch.setattr(ShardedState, "spread", crooked)  # in this process alone
    prepare()
    directory = place(make_spec("sft"), runs)
    assert work(directory.path, SHARDED) == FAILED
    assert "disagree about the final weights" in directory.read_failure().message
