"""A LoRA for each evaluated task: learnt from that task's own demonstrations, and standing for all its descriptions."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.generators import find_generator
from harness.registry import find_task, load_task
from harness.spec import EvaluationProtocol
from methods.objectives.own_tasks import own_tasks
from tests.conftest import make_spec, run_to_end


def test_it_learns_tasks_that_training_holds_out_and_answers_for_all_their_descriptions(runs: Path) -> None:
    """The same LoRA under every wording of a task, and none for a description that was not asked."""
    protocol = EvaluationProtocol(split="test", items=20, curve_points=0)
    spec = make_spec(
        "task-lora", steps=40, evaluation=protocol, learning_rate=1e-2, rank=4, points=8, examples=64, passes=40
    )
    spec = spec.model_copy(
        update={"task": find_task("instructions").resolve({"level": "combination", "context": "none"})}
    )
    directory = run_to_end(spec, runs)
    result = directory.read_result()
    assert result.score.accuracy > 0.4 > result.score.measures["mismatched"]
    handle = find_generator(directory.path)
    base = handle.base()
    model = handle.open(base.model(), base.tokenizer())
    task = load_task("instructions", level="combination", context="none")
    several = next(one for one in task.described("test", 20) if len(one.descriptions) > 1)
    first, second = (model.write([text]) for text in several.descriptions[:2])
    assert all((first.up[name] == second.up[name]).all() for name in first.up)
    with pytest.raises(UserError, match=r"'dance\.' is none of the"):
        model.write_to_keep(["dance."])


def test_a_task_of_which_no_part_can_be_had_alone_is_refused() -> None:
    objective = own_tasks(tasks=8, points=8, examples=500, passes=100)
    assert objective.refuses(load_task("instructions"), None) is None
    reason = objective.refuses(load_task("facts"), None)
    assert reason == "task 'facts' has no parameter 'only' that gives one of its underlying tasks alone"
