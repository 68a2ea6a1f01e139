"""Countdown's instance space, splits and files: known counts, no leaks, and what the original file may hold."""

from __future__ import annotations

import json
import random
import time
from fractions import Fraction
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import pytest

from harness import load_task
from harness.contracts import Item
from harness.errors import UserError
from harness.models import load_model
from tasks.countdown.corpus import sample
from tasks.countdown.instances import SPLITS, draw, split_of
from tasks.countdown.levels import LEVELS
from tasks.countdown.plan import reachable, solvable


@pytest.mark.parametrize(
    ("count", "high", "multisets", "instances"), [(2, 9, 45, 138), (3, 9, 165, 2145), (3, 20, 1540, 16292)]
)
def test_the_number_of_solvable_instances(count: int, high: int, multisets: int, instances: int) -> None:
    """Known counts with targets from 1 to 100; with up to three numbers fractions and negative values add none."""
    sets = list(combinations_with_replacement(range(1, high + 1), count))
    assert len(sets) == multisets
    assert sum(len(reachable(numbers, 1, 100)) for numbers in sets) == instances


@pytest.mark.parametrize(("count", "high"), [(2, 9), (3, 9)])
def test_plans_and_oracle_agree_on_every_instance(count: int, high: int) -> None:
    for numbers in combinations_with_replacement(range(1, high + 1), count):
        found = set(reachable(numbers, 1, 100))
        assert found == {target for target in range(1, 101) if solvable(numbers, target)}


@pytest.mark.parametrize("level", ["L0", "L1", "L2"])
def test_small_levels_are_listed_whole(level: str) -> None:
    """All splits together are all instances, each once."""
    task, shape = load_task("countdown", level=level), LEVELS[level]
    items = [item for split, _ in SPLITS for item in task.items(split)]
    assert len(items) == len({item.id for item in items}) == {"L0": 138, "L1": 2145, "L2": 16292}[level]
    for item in items:
        assert task.items(item.split) and split_of(tuple(item.data["numbers"])) == item.split
        assert shape.target_low <= item.data["target"] <= shape.target_high


def test_splits_share_no_set_of_numbers() -> None:
    """10,000 multisets: the split follows from the numbers in any order, with about the declared shares."""
    rng, seen = random.Random(0), dict.fromkeys((name for name, _ in SPLITS), 0)
    for _ in range(10_000):
        numbers = [rng.randint(1, 99) for _ in range(rng.choice((3, 4)))]
        split = split_of(tuple(numbers))
        rng.shuffle(numbers)
        assert split_of(tuple(numbers)) == split
        seen[split] += 1
    for name, share in SPLITS:
        assert seen[name] / 10_000 == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("level", sorted(LEVELS))
def test_levels_draw_in_their_split(level: str) -> None:
    rng = random.Random(1)
    for split, _ in SPLITS:
        for _ in range(5):
            assert split_of(draw(LEVELS[level], split, rng).numbers) == split


def test_pre_training_text_holds_no_question_of_a_split() -> None:
    rng = random.Random(2)
    for _ in range(300):
        question = sample(rng).prompt
        numbers = tuple(int(number) for number in question.split("=")[0].split(","))
        assert split_of(numbers) == "pretrain"


def test_the_papers_items() -> None:
    """200 train and 2000 test, 3 or 4 numbers to 99, whole targets, every one solvable, no two alike."""
    task = load_task("countdown", level="paper")
    assert task.level == LEVELS["L5"] and task.style == "paper" and task.max_new_tokens == 1024
    train, test = task.items("train"), task.items("test")
    assert (len(train), len(test)) == (200, 2000)
    sets = set()
    for item in [*train, *test]:
        numbers, target = item.data["numbers"], item.data["target"]
        assert len(numbers) in (3, 4) and all(type(n) is int and 1 <= n <= 99 for n in numbers)
        assert type(target) is int and 10 <= target <= 100
        sets.add((tuple(sorted(numbers)), target))
    assert len(sets) == 2200
    assert not {numbers for numbers, _ in sets if split_of(numbers) == "train"} & {
        tuple(sorted(item.data["numbers"])) for item in test
    }
    assert all(task.solvable(item) for item in [*train, *test[:60]])
    three = sum(len(item.data["numbers"]) == 3 for item in test) / 2000
    assert 0.4 < three < 0.6


@pytest.mark.parametrize("level", [level for level in sorted(LEVELS) if level != "L6"])
def test_gold_answers_fit_into_what_a_model_may_write(level: str) -> None:
    tokenizer = load_model("lab").tokenizer()
    task = load_task("countdown", level=level, style="compact")
    for item in task.items("train", 36):
        assert len(tokenizer(task.demonstration(item)).input_ids) < task.max_new_tokens


@pytest.mark.parametrize("style", ["compact", "paper", "chat"])
@pytest.mark.parametrize("level", ["L0", "L2", "L4"])
def test_gold_is_gold_in_every_style(level: str, style: str) -> None:
    task = load_task("countdown", level=level, style=style)
    for item in task.items("val", 10):
        gold = task.demonstration(item)
        assert task.grade(item, gold).correct
        prompt = task.prompt(item)
        assert isinstance(prompt, str) == (style != "chat")
        if style == "paper":
            assert (
                f"[{' '.join(map(str, item.data['numbers']))}]" in prompt and f"equals {item.data['target']}." in prompt
            )
            whole = load_task("countdown", level=level, style=style, reward="es-paper").grade(item, gold)
            assert whole.reward == pytest.approx(1.1), "gold has the whole format too"


def test_styles_ask_the_same_items() -> None:
    tasks = [load_task("countdown", level="L2", style=style) for style in ("compact", "paper", "chat")]
    first, *others = ([item.id for item in task.items("test", 50)] for task in tasks)
    assert others == [first, first]


JUNK = {
    "empty": "",
    "cheese": "<answer>cheese</answer>",
    "tags": "<answer>" * 50_000 + "</answer>" * 50_000,
    "thoughts": "<think>" * 50_000 + "</think>" * 50_000,
    "mixed": "<think></think>\n<answer></answer>" * 20_000,
    "megabyte": "7" * 10**6,
}


@pytest.mark.parametrize(("reward", "most"), [("correct", 0.0), ("tinyzero", 0.1), ("es-paper", 0.1)])
@pytest.mark.parametrize("name", sorted(JUNK))
def test_form_alone_earns_at_most_a_tenth_and_is_never_accuracy(name: str, reward: str, most: float) -> None:
    task = load_task("countdown", level="paper", reward=reward)
    item = Item("x", "val", {"numbers": [3, 5], "target": 8})
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        grade = task.grade(item, JUNK[name])
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.05
    assert not grade.correct and 0 <= grade.reward <= most + 1e-12
    assert JUNK[name] or grade.reward == 0


@pytest.mark.parametrize("reward", ["correct", "tinyzero", "es-paper"])
def test_accuracy_does_not_know_the_reward(reward: str) -> None:
    plain, other = load_task("countdown", level="paper"), load_task("countdown", level="paper", reward=reward)
    item = Item("x", "val", {"numbers": [3, 5], "target": 8})
    for text in ["<answer>3+5</answer>", "<answer>3*5</answer>", "<answer>8</answer>", "", "<answer></answer>"]:
        first, second = plain.grade(item, text), other.grade(item, text)
        assert (first.correct, first.well_formed, first.reason, first.parsed) == (
            second.correct,
            second.well_formed,
            second.reason,
            second.parsed,
        )


def file_of(tmp_path: Path, records: Any) -> Any:
    path = tmp_path / "countdown.json"
    path.write_text(json.dumps(records))
    return load_task("countdown", level="paper", data=str(path))


def record(place: int, **changed: Any) -> dict[str, Any]:
    return {
        "id": place,
        "numbers": [place % 90 + 1, 3, 5 + place // 90],
        "target": place % 90 + 9,
        "solution": "",
        **changed,
    }


def test_the_original_file_is_split_by_place(tmp_path: Path) -> None:
    task = file_of(tmp_path, [record(place) for place in range(205)])
    train, val, test = (task.items(split) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (100, 100, 5)
    assert train[0].data["numbers"] == [1, 3, 5] and test[0].data["numbers"] == [200 % 90 + 1, 3, 7]
    for split in ("train", "val", "test"):
        assert {item.split for item in task.items(split)} == {split}
    assert list(task.items("test", 2)) == test[:2]
    with pytest.raises(UserError, match="has 5 test items, 6 were asked for"):
        task.items("test", 6)


@pytest.mark.parametrize(
    ("target", "shown", "exact"),
    [
        (27.4, "27.4", Fraction(137, 5)),
        ("27.4", "27.4", Fraction(137, 5)),
        (-11, "-11", Fraction(-11)),
        (36, "36", Fraction(36)),
        (36.0, "36", Fraction(36)),
        ("266.666", "266.666", Fraction(266666, 1000)),
    ],
)
def test_a_target_is_asked_as_it_is_written_and_read_exactly(
    tmp_path: Path, target: Any, shown: str, exact: Fraction
) -> None:
    (item,) = file_of(tmp_path, [record(0, target=target)]).items("train")
    task = load_task("countdown", level="paper")
    assert f"equals {shown}." in task.prompt(item)
    wanted = f"{exact.numerator}/{exact.denominator}" if exact.denominator > 1 else str(abs(exact.numerator))
    asked = Item(item.id, item.split, {**item.data, "numbers": [int(n) for n in wanted.split("/")]})
    if exact > 0 and all(len(number) <= 4 for number in wanted.split("/")):
        assert task.grade(asked, f"<answer>{wanted}</answer>").correct


@pytest.mark.parametrize(
    "records",
    [
        [],
        {"numbers": [1, 2], "target": 3},
        "countdown",
        None,
        [None],
        [[1, 2, 3]],
        [{"target": 3}],
        [{"numbers": [1, 2]}],
        [record(0), {"numbers": [1, 2]}],
        [record(0, numbers="12")],
        [record(0, numbers=[])],
        [record(0, numbers=[1.5, 2])],
        [record(0, numbers=[True, 2])],
        [record(0, numbers=[None])],
        [record(0, numbers=7)],
        [record(0, target=None)],
        [record(0, target="eight")],
        [record(0, target="1/0")],
        [record(0, target=[8])],
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, records: Any) -> None:
    with pytest.raises(UserError, match=r"countdown\.json is no Countdown file") as error:
        file_of(tmp_path, records)
    assert "\n" not in str(error.value)


def test_an_instance_that_comes_twice_is_refused(tmp_path: Path) -> None:
    again = {"numbers": [5, 3, 1], "target": "9.0"}
    with pytest.raises(UserError, match=r"countdown\.json: record \[2\] is the same instance as record \[0\]"):
        file_of(tmp_path, [record(0), record(1), again])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"[\n\n\xff\xfe\x00", "line 3: not UTF-8"),
        (b"[\n{", "line 2: not JSON"),
        (b"[" * 200_000, "line 1: not JSON"),
        (b"\x00" * 10, "line 1: not JSON"),
        (b'[{"numbers": [1, 3], "target": NaN}]', "not JSON .NaN is no number"),
        (b'[{"numbers": [1, 3], "target": ' + b"9" * 5000 + b"}]", "line 1: not JSON"),
    ],
)
def test_a_file_that_is_no_json_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "countdown.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"countdown\.json.* {said}") as error:
        load_task("countdown", level="paper", data=str(path))
    assert "\n" not in str(error.value)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_task("countdown", data=str(tmp_path))
