"""Numbers stop being finite: the run stops with the step, the last good checkpoint and the likely cause."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from harness.contracts import Resources
from harness.diagnosis import likely_cause
from harness.events import read_events
from harness.models import load_model
from harness.record import RunDirectory
from harness.training import Training
from harness.worker import FAILED, work
from tests.conftest import make_spec, place


def failed(method: str, runs: Path, checkpoint_seconds: float, **parameters: object) -> RunDirectory:
    spec = make_spec(method, steps=40, **parameters)
    spec = spec.model_copy(update={"training": Training(max_grad_norm=0.0, warmup_steps=0)})
    directory = place(spec, runs)
    assert work(directory.path, Resources(), checkpoint_seconds) == FAILED
    assert directory.read_failure().failure == "nan" and directory.status() == "failed"
    return directory


def test_a_run_that_blows_up_says_when_where_and_why(runs: Path) -> None:
    directory = failed("sft", runs, 0.0, learning_rate=1e18, schedule="constant")
    message = directory.read_failure().message
    steps = [event["step"] for event in read_events(directory.events) if event["kind"] == "metrics"]
    found = re.match(r"the (\w+) of step (\d+) is not finite\. The last good checkpoint, of step (\d+), is (\S+)\. "
                     r"Likely cause: (.+)\.$", message)  # fmt: skip
    assert found is not None, message
    assert int(found[2]) == steps[-1] and int(found[3]) == steps[-1] - 1
    assert "learning rate" in found[5]
    kept = load_model(found[4]).model()
    assert all(bool(tensor.isfinite().all()) for tensor in kept.parameters())


def test_without_a_checkpoint_it_names_what_the_stage_started_from(runs: Path) -> None:
    directory = failed("sft", runs, 60.0, learning_rate=1e18, schedule="constant")
    assert f"it started from {load_model('lab').path}. Likely cause: " in directory.read_failure().message


def test_weights_that_are_lost_are_not_saved(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An update that breaks the weights behind a finite loss and gradient."""
    own = torch.optim.AdamW.step
    calls = []

    def step(optimiser: torch.optim.Optimizer, *rest: object) -> object:
        answer = own(optimiser, *rest)
        calls.append(1)
        if len(calls) == 2:
            with torch.no_grad():
                optimiser.param_groups[0]["params"][0][0, 0] = float("inf")
        return answer

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    directory = failed("sft", runs, 0.0)
    assert "the weights after step 2 are not finite. The last good checkpoint, of step 1," in (
        directory.read_failure().message
    )


STEADY = [{"loss": 2.0, "grad_norm": 1.0, "learning_rate": 1e-5} for _ in range(6)]
LOST = {"loss": float("nan"), "grad_norm": float("nan"), "learning_rate": 1e-5}


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ([], LOST, "the first update, so the start model or the data"),
        ([*STEADY, {"grad_norm": 80.0}], LOST, "gradient had grown from 1 to 80: lower the learning rate (1e-05)"),
        ([*STEADY, {"loss": 90.0}], LOST, "the loss had grown from 2 to 90"),
        (STEADY[:1], LOST | {"learning_rate": 3.0}, "a learning rate of 3 moves weights further"),
        (STEADY, LOST | {"logps/chosen": float("-inf")}, "logps/chosen is not finite although nothing had grown"),
        (STEADY, LOST | {"reward": float("nan")}, "the task's reward is not a finite number"),
        (STEADY, LOST, "the gradient's norm lay between 1 and 1): look at the batch of this step"),
        ([], {"reward": 0.5, "update_norm": float("inf")}, "the first update"),
        ([{"update_norm": 1.0}, {"update_norm": None}], {"update_norm": float("inf")}, "take smaller steps"),
    ],
)
def test_the_likely_cause_is_read_off_the_record(
    before: list[dict[str, float]], now: dict[str, float], said: str
) -> None:
    assert said in likely_cause(before, now)
