"""Countdown's instances: known counts, solvability by enumeration, levels, prompts, the original file."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import combinations_with_replacement
from pathlib import Path

import pytest

from harness import load_task
from harness.errors import UserError
from tasks.countdown.instances import split_of
from tasks.countdown.levels import LEVELS
from tasks.countdown.plan import all_plans, reachable, solvable


@pytest.mark.parametrize(("count", "high", "without", "of"), [(2, 9, 45, 45), (3, 9, 165, 165)])
def test_every_multiset_reaches_something(count: int, high: int, without: int, of: int) -> None:
    multisets = list(combinations_with_replacement(range(1, high + 1), count))
    assert len(multisets) == of
    assert sum(bool(reachable(numbers, 1, 100)) for numbers in multisets) == without


@pytest.mark.parametrize("level", sorted(LEVELS))
def test_items_are_in_range_solvable_and_in_their_split(level: str) -> None:
    task = load_task("countdown", level=level)
    shape = LEVELS[level]
    for split in ("train", "val", "test"):
        for item in task.items(split, 12):
            numbers, target = item.data["numbers"], item.data["target"]
            assert len(numbers) in shape.counts and all(1 <= n <= shape.high for n in numbers)
            assert shape.target_low <= target <= shape.target_high
            assert split_of(tuple(numbers)) == split
            if len(numbers) <= 4:
                assert task.solvable(item)
            assert task.grade(item, task.demonstration(item)).correct


def test_the_papers_level_has_the_papers_sizes() -> None:
    task = load_task("countdown", level="paper")
    assert (len(task.items("train")), len(task.items("test"))) == (200, 2000)
    counts = {len(item.data["numbers"]) for item in task.items("test")}
    assert counts == {3, 4}
    assert all(isinstance(item.data["target"], int) for item in task.items("test"))


def test_plans_agree_with_the_oracle_where_both_apply() -> None:
    """Whatever a plan reaches, the oracle over exact rationals reaches, and plans use every number once."""
    for numbers in [(3, 7, 11), (1, 1, 5), (2, 4, 8, 20)]:
        for plan in list(all_plans(numbers))[:300]:
            assert solvable(numbers, plan.value)
    assert solvable((3, 3, 8, 8), 24)  # needs the fraction 8/3
    assert not solvable((1, 1), 5)


def test_needs_product_says_whether_sums_are_enough() -> None:
    for item in load_task("countdown", level="L1").items("val", 60):
        numbers = item.data["numbers"]
        signs = {Fraction(numbers[0])} | {Fraction(-numbers[0])}
        for number in numbers[1:]:
            signs = {s + n for s in signs for n in (number, -number)}
        assert item.data["needs_product"] == (Fraction(item.data["target"]) not in signs)


def test_prompts_show_the_numbers_and_the_target() -> None:
    for style in ("compact", "paper", "chat"):
        task = load_task("countdown", level="L2", style=style)
        item = task.items("val", 1)[0]
        prompt = task.prompt(item)
        text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
        separator = "," if style == "compact" else " "
        assert separator.join(map(str, item.data["numbers"])) in text and str(item.data["target"]) in text
    assert load_task("countdown", level="L2").prompt(item).endswith(">")
    assert load_task("countdown", level="paper").prompt(item).endswith("<think>")


def test_more_items_than_there_are_is_refused() -> None:
    with pytest.raises(UserError, match="ask for fewer"):
        load_task("countdown", level="L0").items("test", 10_000)


def test_an_unknown_level_names_the_nearest() -> None:
    with pytest.raises(UserError, match="L2"):
        load_task("countdown", level="L22")


def test_the_original_file_is_read_exactly(tmp_path: Path) -> None:
    path = tmp_path / "countdown.json"
    records = [{"numbers": [4, 2, 3], "target": 9 + place} for place in range(200)] + [
        {"numbers": [137, 5, 2], "target": "27.4"},
        {"numbers": [3, 14], "target": -11},
    ]
    path.write_text(json.dumps(records))
    task = load_task("countdown", level="paper", data=str(path))
    decimal, negative = task.items("test")
    assert len(task.items("train")) + len(task.items("val")) == 200
    assert task.grade(decimal, "<answer>137/5*2/2</answer>").reason == "wrong_numbers"
    assert not task.solvable(decimal)
    assert task.solvable(negative) and task.grade(negative, "<answer>3-14</answer>").correct


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"numbers": [1]}]', '[{"numbers": ["a"], "target": 1}]'])
def test_a_file_of_something_else_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "countdown.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"countdown\.json is (no Countdown file|empty)"):
        load_task("countdown", level="paper", data=str(path)).items("test", 1)


def test_a_missing_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file or folder"):
        load_task("countdown", level="paper", data=str(tmp_path / "none.json"))
