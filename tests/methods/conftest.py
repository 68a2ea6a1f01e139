"""A real stage of a real run on the lab model, for tests that look inside a method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.context import StageContext
from harness.events import EventLog
from harness.meters import MeterBank
from harness.models import load_model
from harness.policy import Policy
from harness.registry import load_method, load_task
from harness.run_context import RunContext
from tests.conftest import make_spec, place


@pytest.fixture
def make_stage(runs: Path) -> Callable[..., StageContext]:
    """`make_stage(method, seed=0, steps=4, **parameters)`: its first stage, about to begin."""

    def make(method: str, **options: object) -> StageContext:
        spec = make_spec(method, **options)  # type: ignore[arg-type]
        directory = place(spec, runs)
        task = load_task(spec.task.name, **spec.task.parameters)
        handle = load_model(spec.model.name)
        policy = Policy(handle.model().eval(), handle.tokenizer(), handle.path)
        run = RunContext(spec, directory, task, MeterBank(), EventLog(directory.events))
        stage = load_method(method, **spec.method.parameters).stages[0]
        attached = stage.parameterisation.attach(policy, run.seed("stage-0", "init") % 2**31)
        return StageContext(run, 0, attached, parameterisation=stage.parameterisation)

    return make
