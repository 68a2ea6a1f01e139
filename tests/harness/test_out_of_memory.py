"""Memory runs out in a real run: the micro-batch is halved, the batch stays, and the record says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import stages, worker
from harness.contracts import Resources
from harness.engines import hf
from harness.errors import failure_class
from harness.events import read_events
from harness.models import load_model
from harness.record import RunDirectory
from harness.training import Training
from harness.worker import DONE, FAILED, work
from tests.conftest import kill_when, make_spec, place, run_to_end

COUNTED = {"generated_tokens", "trained_tokens", "rollouts", "flops", "steps"}
Limit = Callable[[int], None]


@pytest.fixture
def rows_that_fit(monkeypatch: pytest.MonkeyPatch) -> Limit:
    """`rows_that_fit(n)`: from now on a forward pass in training of more than n rows finds no memory."""
    own = worker.loaded

    def limit(rows: int) -> None:
        def refuse(module: Any, arguments: Any, keywords: dict[str, Any]) -> None:
            if torch.is_grad_enabled() and len(keywords["input_ids"]) > rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

        def policy(handle: Any, resources: Resources) -> Any:
            made = own(handle, resources)
            made.model.register_forward_pre_hook(refuse, with_kwargs=True)
            return made

        for module in (worker, stages):
            monkeypatch.setattr(module, "loaded", policy)

    return limit


def halvings(directory: RunDirectory) -> list[tuple[int, int, int]]:
    return [(e["step"], e["old"], e["new"]) for e in read_events(directory.events) if e["kind"] == "micro_batch"]


def assert_same_weights(one: RunDirectory, other: RunDirectory) -> None:
    start = dict(load_model("lab").model().named_parameters())
    first, second = (dict(load_model(str(run.model)).model().named_parameters()) for run in (one, other))
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=1e-5, atol=1e-5)
    assert any(not torch.equal(tensor, start[name]) for name, tensor in first.items())


@pytest.mark.parametrize(
    ("method", "fit", "parts", "expected"),
    [
        ("sft", 1, 4, [(1, 4, 2), (1, 2, 1)]),
        ("dpo", 4, 2, [(1, 4, 2)]),  # a pair has two rows
        ("grpo", 3, 2, [(1, 16, 8)]),  # of which the objective computes two rows at a time
    ],
)
def test_the_micro_batch_is_halved_until_it_fits(
    method: str, fit: int, parts: int, expected: Any, runs: Path, tmp_path: Path, rows_that_fit: Limit
) -> None:
    spec = make_spec(method)
    small = run_to_end(spec.model_copy(update={"training": Training(accumulation=parts)}), tmp_path / "small")
    rows_that_fit(fit)
    directory = run_to_end(spec, runs)
    assert halvings(directory) == expected
    assert [stage.micro_batch for stage in directory.read_result().stages] == [expected[-1][2]]
    assert_same_weights(directory, small)
    one, other = (run.read_result().meters.model_dump(include=COUNTED) for run in (directory, small))
    assert one == other, "the failed attempts count as training"


def test_a_resumed_run_knows_what_fits(runs: Path, tmp_path: Path, rows_that_fit: Limit) -> None:
    rows_that_fit(2)
    whole = run_to_end(make_spec("sft"), tmp_path / "whole")
    directory = place(make_spec("sft"), runs)
    kill_when(directory, lambda run: any(run.checkpoint.glob("stage-0/checkpoint-2/state.json")))
    assert work(directory.path, Resources()) == DONE
    assert halvings(directory) == halvings(whole) == [(1, 4, 2)]
    assert directory.read_result().weights_digest == whole.read_result().weights_digest


def test_a_row_that_does_not_fit_fails_with_what_to_change(runs: Path, rows_that_fit: Limit) -> None:
    rows_that_fit(0)
    directory = place(make_spec("sft"), runs)
    assert work(directory.path, Resources()) == FAILED
    failure = directory.read_failure()
    assert failure.failure == "oom" and failure.phase == "stage 0"
    assert failure.message.startswith("One row of SFTTrainer's batch alone does not fit into memory: turn on gradient")


def test_sampling_goes_on_in_smaller_batches(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_to_end(make_spec("grpo"), tmp_path / "whole")
    complete = hf.complete

    def limited(*given: Any, of: list[int], **others: Any) -> Any:
        if len(of) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return complete(*given, of=of, **others)

    monkeypatch.setattr(hf, "complete", limited)
    directory = run_to_end(make_spec("grpo"), runs)
    events = [e for e in read_events(directory.events) if e["kind"] == "generation_rows"]
    assert [(e["old"], e["new"]) for e in events] == [(512, 8), (8, 4)]
    assert directory.read_result().meters.generated_tokens == whole.read_result().meters.generated_tokens
    assert_same_weights(directory, whole)


def test_what_the_allocators_say_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert failure_class(caught.value) == "oom"
    assert failure_class(torch.OutOfMemoryError("CUDA out of memory")) == failure_class(MemoryError()) == "oom"
    assert failure_class(RuntimeError("shapes do not match")) == "bug"
