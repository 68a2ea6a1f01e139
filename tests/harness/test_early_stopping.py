"""Early stopping by the learning curve: when it ends a stage, with which weights, and that a resumed run agrees."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.contracts import Resources
from harness.events import read_events
from harness.record import RunDirectory
from harness.spec import RunSpec
from harness.training import EarlyStopping, Training
from harness.worker import DONE, work
from tests.conftest import PROTOCOL, kill_when, make_spec, place, run_to_end

HARMFUL = {"sft": {"learning_rate": 0.1}, "es": {"sigma": 0.05, "step_ratio": 100.0}}
"""Settings that ruin the policy at the first step."""


def spec_of(method: str, patience: int = 2, **parameters: object) -> RunSpec:
    protocol = PROTOCOL.model_copy(update={"curve_points": 8, "curve_items": 15})
    spec = make_spec(method, steps=8, evaluation=protocol, **parameters)
    return spec.model_copy(update={"training": Training(early_stopping=EarlyStopping(patience=patience))})


def curve(directory: RunDirectory) -> list[float]:
    return [event["accuracy"] for event in read_events(directory.events) if event["kind"] == "curve"]


@pytest.mark.parametrize("method", ["sft", "es"])
def test_a_stage_that_only_gets_worse_ends_early_with_the_weights_it_had(method: str, runs: Path) -> None:
    directory = run_to_end(spec_of(method, **HARMFUL[method]), runs)
    result = directory.read_result()
    points = curve(directory)
    assert points[0] > max(points[1:]), "nothing got worse: this test would prove nothing"
    (stage,) = result.stages
    assert (stage.stopped_by, stage.best_point, stage.meters.steps) == ("early_stopping", 0, 2)
    assert result.weights_digest == run_to_end(make_spec("base"), runs).read_result().weights_digest
    (kept,) = [event for event in read_events(directory.events) if event["kind"] == "best_point"]
    assert kept["point"] == 0 and kept["accuracy"] == points[0]


def test_a_stage_that_gets_better_runs_to_the_end_of_its_budget(runs: Path) -> None:
    directory = run_to_end(spec_of("sft", patience=8), runs)
    (stage,) = directory.read_result().stages
    points = curve(directory)
    assert stage.stopped_by == "steps" and stage.meters.steps == 8
    assert stage.best_point == points.index(max(points))


def test_killed_and_resumed_it_stops_at_the_same_point(runs: Path, tmp_path: Path) -> None:
    spec = spec_of("sft", patience=3, **HARMFUL["sft"])
    whole = run_to_end(spec, tmp_path / "whole")
    directory = place(spec, runs)
    kill_when(directory, lambda run: any(run.checkpoint.glob("stage-0/checkpoint-2/state.json")))
    assert work(directory.path, Resources()) == DONE
    assert directory.read_result().stages[0].best_point == whole.read_result().stages[0].best_point
    assert directory.read_result().weights_digest == whole.read_result().weights_digest
    assert directory.read_result().meters.steps == whole.read_result().meters.steps == 3
