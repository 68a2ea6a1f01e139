"""What every registered task must keep: gold is right, hostile text is wrong and quick, splits and order are fixed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from itertools import pairwise

import pytest

from harness import load_task
from harness.contracts import Prompt, Task
from harness.errors import UserError
from harness.registry import tasks

EVERY = sorted(tasks())
SPLITS = ("train", "val", "test")
N = 40

HOSTILE = {
    "empty": "",
    "blank": " \n\t ",
    "nul": "\x00" * 1000,
    "megabyte": "7" * 1_000_000,
    "brackets": "(" * 100_000,
    "powers": "99**99**99**99",
    "import": '__import__("os").system("true")',
    "unicode digits": "٣+٤ ３＋４",
    "emoji": "\U0001f600" * 10_000,
    "tags": "<answer>" * 50_000 + "</answer>" * 50_000,
    "marks": "#" * 100_000,
    "exponent": "1e999999",
    "underscores": "1_000_000",
    "latex": "\\frac{" * 20_000,
}


@pytest.fixture(params=EVERY)
def task(request: pytest.FixtureRequest) -> Task:
    return load_task(request.param)


def text_of(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else " ".join(str(turn["content"]) for turn in prompt)


def test_gold_is_right(task: Task) -> None:
    if "demonstrations" not in task.offers:
        pytest.fail(f"{task.name} offers no demonstrations: say here how its gold answer is found")
    for split in SPLITS:
        for item in task.items(split, N):
            grade = task.grade(item, task.demonstration(item))
            assert grade.correct and grade.well_formed and grade.reward > 0, (item, grade)


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_text_is_wrong_and_quick(task: Task, name: str) -> None:
    item = task.items("val", 1)[0]
    started = time.perf_counter()
    grade = task.grade(item, HOSTILE[name])
    assert time.perf_counter() - started < 0.5
    assert not grade.correct and grade.reward < 1
    assert grade.reason and grade.reason != "ok"


def test_the_prompt_is_no_answer(task: Task) -> None:
    for item in task.items("val", N):
        assert not task.grade(item, text_of(task.prompt(item))).correct


def test_one_items_answer_is_not_anothers(task: Task) -> None:
    items = task.items("val", N)
    for item, other in pairwise(items):
        assert not task.grade(item, task.demonstration(other)).correct


def test_splits_are_disjoint_and_ids_unique(task: Task) -> None:
    seen: dict[str, str] = {}
    for split in SPLITS:
        for item in task.items(split, N):
            assert item.split == split
            assert item.id not in seen, (split, seen.get(item.id))
            seen[item.id] = split
            question = text_of(task.prompt(item))
            assert question not in seen
            seen[question] = split


def test_fewer_items_are_the_first_of_more(task: Task) -> None:
    assert list(task.items("test", N))[: N // 2] == list(task.items("test", N // 2))


def test_an_unknown_split_is_refused_in_one_sentence(task: Task) -> None:
    with pytest.raises(UserError, match="trian"):
        task.items("trian", 1)


@pytest.mark.parametrize("name", EVERY)
def test_items_and_prompts_are_the_same_in_another_process(name: str) -> None:
    program = f"""
import json
from harness import load_task
task = load_task({name!r})
print(json.dumps([[i.id, task.prompt(i), task.demonstration(i)] for i in task.items("test", 10)]))
"""
    found = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", program],
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for seed in ("1", "2")
    ]
    task = load_task(name)
    assert found[0] == found[1]
    assert found[0] == [[i.id, task.prompt(i), task.demonstration(i)] for i in task.items("test", 10)]
