"""ZeRO stage 2: after a backward pass each process has the sums of its own tensors, whatever each of them computed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import team as teams
from harness.contracts import Resources
from harness.events import read_events
from harness.ranks import Ranks
from harness.record import Failure, RunDirectory
from harness.sharded_gradients import ShardedGradients
from harness.training import Training
from harness.worker import DONE, work
from tests.conftest import make_spec, place, prepare
from tests.contracts.test_methods import apart
from tests.harness.test_team import TWO, together

LAYERS, WIDTH = 6, 4
ROWS = [1.0, 2.0, 4.0]  # a micro-batch each: the first process has one, the second two
CLIPPED = 0.5


def make() -> tuple[torch.nn.Sequential, torch.nn.Linear, list[torch.nn.Parameter]]:
    """A model, a layer that is used in one micro-batch alone, and all tensors; the last of them is never used."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torch.nn.Sequential(*(torch.nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)))
        rare, unused = torch.nn.Linear(WIDTH, WIDTH, bias=False), torch.nn.Parameter(torch.ones(3))
    return model, rare, [*model.parameters(), *rare.parameters(), unused]


def loss(model: torch.nn.Sequential, rare: torch.nn.Linear, row: float) -> torch.Tensor:
    out = model(torch.full((1, WIDTH), row))
    return (rare(out) if row == max(ROWS) else out).square().mean()


def expected() -> list[torch.Tensor | None]:
    model, rare, tensors = make()
    for row in ROWS:
        loss(model, rare, row).backward()
    torch.nn.utils.clip_grad_norm_(tensors, CLIPPED)
    return [tensor.grad for tensor in tensors]


def owner_of(tensors: Iterable[torch.Tensor]) -> Any:
    places = {id(tensor): place % 2 for place, tensor in enumerate(tensors)}
    return lambda tensor: places[id(tensor)]


def spread(ranks: Ranks, fails: bool) -> None:
    """Two updates in both processes; with `fails` the second process loses its first attempts half way."""
    model, rare, tensors = make()
    alive: list[int] = []
    gradients = ShardedGradients(tensors, owner_of(tensors), ranks)
    for tensor in tensors:
        tensor.register_post_accumulate_grad_hook(
            lambda one: alive.append(sum(other.numel() for other in tensors if other.grad is not None))
        )
    for update in range(2):
        alive.clear()
        attempt_update(gradients, model, rare, ranks, fails)
        check(gradients, tensors, ranks)
        if update:
            assert max(alive) <= WIDTH * (WIDTH + 1)  # one layer's, of 7: what is complete has been let go of
        for tensor in tensors:
            tensor.grad = None
    gradients.close()
    loss(model, rare, 1.0).backward()
    assert all(tensor.grad is not None for tensor in model.parameters())
    ranks.gather("all of this held here")


def attempt_update(
    gradients: ShardedGradients, model: torch.nn.Sequential, rare: torch.nn.Linear, ranks: Ranks, fails: bool
) -> None:
    for attempt in range(2 if fails else 1):
        gradients.begin(2)
        for number in ranks.share(len(ROWS)):
            if fails and attempt == 0 and ranks.rank == 1:
                break
            loss(model, rare, ROWS[number]).backward()
            gradients.end_round()
        gradients.finish()
        ranks.gather(None)
    gradients.hand_out()


def check(gradients: ShardedGradients, tensors: list[torch.nn.Parameter], ranks: Ranks) -> None:
    """Clipped as the whole gradient, its own in each process, and afterwards all in both."""
    whole, owner = expected(), owner_of(tensors)
    norm = gradients.clip(tensors, CLIPPED)
    for tensor, right in zip(tensors, whole, strict=True):
        if right is None or owner(tensor) != ranks.rank:
            assert tensor.grad is None
        else:
            torch.testing.assert_close(tensor.grad, right)
    assert float(norm) > CLIPPED
    gradients.whole()
    for tensor, right in zip(tensors, whole, strict=True):
        assert (tensor.grad is None) == (right is None)
        if right is not None:
            torch.testing.assert_close(tensor.grad, right)


def follow_spread(copy: RunDirectory, resources: Resources, ranks: Ranks) -> Failure | None:
    for fails in (False, True):
        spread(ranks, fails)
    return None


def test_each_process_has_the_sums_of_its_own_tensors(runs: Path) -> None:
    """Of uneven micro-batches, of a tensor that one of them alone reaches, and after one process had to begin anew."""
    prepare()
    directory = place(make_spec("base"), runs)
    with teams.team(directory, TWO, follow_spread) as made:
        for fails in (False, True):
            spread(made.ranks, fails)


def test_memory_that_runs_out_in_one_process_halves_the_micro_batches_of_both(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, calls = ShardedGradients._arrived, []

    def scarce(gradients: ShardedGradients, tensor: torch.Tensor) -> None:
        calls.append(tensor)
        if len(calls) == 5:  # in the middle of a backward pass of this process alone
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        honest(gradients, tensor)

    monkeypatch.setattr(ShardedGradients, "_arrived", scarce)
    prepare()
    directory = place(make_spec("sft"), runs)
    assert work(directory.path, Resources(processes=2, zero_stage=2)) == DONE, directory.error.read_text()
    halved = [event for event in read_events(directory.events) if event["kind"] == "micro_batch"]
    assert [(event["old"], event["new"]) for event in halved] == [(2, 1)]
    whole = together("sft", tmp_path / "whole", training=Training(accumulation=2))
    assert apart(directory, whole) < 2e-5
