"""Negative controls: the signal is gone, everything else is as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import load_task
from harness.control import Controlled
from harness.record import RunDirectory
from harness.spec import RunSpec
from tests.conftest import make_spec, run_to_end


def controlled(control: str, seed: int = 1) -> Controlled:
    return Controlled(load_task("countdown", level="L2"), control, seed)  # type: ignore[arg-type]


def test_a_shuffled_verdict_is_a_fair_coin_that_knows_the_answer_again() -> None:
    task = controlled("shuffled")
    items = task.items("train", 400)
    gold = [task.task.demonstration(item) for item in items]
    verdicts = [task.grade(item, text) for item, text in zip(items, gold, strict=True)]
    again = [task.grade(item, text) for item, text in zip(items, gold, strict=True)]
    assert verdicts == again and all(grade.reward == float(grade.correct) for grade in verdicts)
    assert 160 < sum(grade.correct for grade in verdicts) < 240  # 4 standard deviations of a fair coin
    other = controlled("shuffled", seed=2)
    assert [other.grade(item, text) for item, text in zip(items, gold, strict=True)] != verdicts


def test_a_shuffled_demonstration_is_another_questions() -> None:
    task = controlled("shuffled")
    items = task.items("train", 100)
    own = [task.task.demonstration(item) for item in items]
    dealt = [task.demonstration(item) for item in items]
    assert sorted(own) == sorted(dealt)
    assert sum(one == other for one, other in zip(own, dealt, strict=True)) <= 2  # two questions may share an answer
    assert sum(task.task.grade(item, text).correct for item, text in zip(items, dealt, strict=True)) <= 2


def test_constant_is_right_whatever_is_said() -> None:
    task = controlled("constant")
    item = task.items("train", 1)[0]
    assert [task.grade(item, text).reward for text in ("", "#1+1", task.demonstration(item))] == [1.0, 1.0, 1.0]
    assert task.demonstration(item) == task.task.demonstration(item)


@pytest.mark.parametrize("control", ["shuffled", "constant"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluation_knows_no_control(control: str, split: str) -> None:
    task = controlled(control)
    for item in task.items(split, 20):
        assert task.demonstration(item) == task.task.demonstration(item)
        for text in ("", "#1+1", task.task.demonstration(item)):
            assert task.grade(item, text) == task.task.grade(item, text)


def test_a_control_is_another_run_and_none_is_the_run_it_always_was() -> None:
    plain = make_spec("grpo")
    ids = {plain.run_id, *(under(plain, control).run_id for control in ("shuffled", "constant"))}
    assert len(ids) == 3
    assert "control" not in plain.canonical()


def under(spec: RunSpec, control: str) -> RunSpec:
    return RunSpec.model_validate(spec.model_dump() | {"control": control})


@pytest.mark.parametrize("method", ["grpo", "dr-grpo", "es", "lora-es"])
def test_a_constant_reward_moves_nothing(method: str, runs: Path) -> None:
    def digest(directory: RunDirectory) -> str:
        return directory.read_result().weights_digest

    moved = run_to_end(under(make_spec(method), "constant"), runs)
    still = run_to_end(make_spec(method, steps=0), runs)
    assert moved.read_result().meters.steps == 4
    assert digest(moved) == digest(still)


def test_the_final_score_is_the_tasks_own(runs: Path) -> None:
    run = run_to_end(under(make_spec("sft", steps=0), "constant"), runs)
    base = run_to_end(make_spec("base"), runs)
    assert run.read_result().score == base.read_result().score
