"""Sudoku's grader: what is right, what is not, and why."""

from __future__ import annotations

from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import load_task
from harness.contracts import Item

TASK = load_task("sudoku", level="S1")
ITEM = TASK.items("val", 1)[0]
GOLD = TASK.demonstration(ITEM)
FLAT = "".join(GOLD.split())
CLUE = next(place for place, digit in enumerate(ITEM.data["clues"]) if digit)
BLANK = next(place for place, digit in enumerate(ITEM.data["clues"]) if not digit)


def changed(place: int) -> str:
    digit = str(int(FLAT[place]) % 4 + 1)
    return FLAT[:place] + digit + FLAT[place + 1 :]


def renamed() -> str:
    """A grid by the rules that keeps no clue."""
    return FLAT.translate(str.maketrans("1234", "2341"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOLD, "ok"),
        (GOLD + "\n", "ok"),
        ("\n  " + GOLD + " \r\n", "ok"),
        (FLAT, "ok"),
        (" ".join(FLAT), "ok"),
        (changed(CLUE), "altered_clue"),
        (renamed(), "altered_clue"),
        (changed(BLANK), "rule_broken"),
        ("1" * 16, "altered_clue"),
        (FLAT + "1", "wrong_shape"),
        (FLAT[:-1], "wrong_shape"),
        (GOLD + "\n\n" + GOLD, "wrong_shape"),
        ("5" + FLAT[1:], "bad_digit"),
        ("0" + FLAT[1:], "bad_digit"),
        (f"The answer is {GOLD}", "bad_character"),
        (GOLD.replace(" ", "|"), "bad_character"),
        (GOLD.replace("1", "\u0661"), "bad_character"),
        (GOLD.replace(" ", "\u00a0"), "bad_character"),
        (GOLD.replace(FLAT[BLANK], "_"), "bad_character"),
        ("", "empty"),
        (" \n", "empty"),
        ("1 " * 500_000, "wrong_shape"),
    ],
)
def test_verdicts(text: str, reason: str) -> None:
    grade = TASK.grade(ITEM, text)
    assert (grade.correct, grade.reason) == (reason == "ok", reason)
    assert grade.reward == float(grade.correct)


def test_any_completion_by_the_rules_is_right() -> None:
    """The grader does not compare with the stored solution: a puzzle with two solutions accepts both."""
    one = (1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 4, 3, 2, 1)
    other = (2, 1, 3, 4, 3, 4, 1, 2, 1, 2, 4, 3, 4, 3, 2, 1)
    clues = [a if a == b else 0 for a, b in zip(one, other, strict=True)]
    item = Item("two", "val", {"clues": clues, "solution": list(one)})
    assert TASK.grade(item, " ".join(map(str, one))).correct
    assert TASK.grade(item, " ".join(map(str, other))).correct


@pytest.mark.parametrize("level", ["S0", "S1", "S2", "S4"])
def test_partial_reward_pays_nothing_for_ones_and_never_for_altered_clues(level: str) -> None:
    task = load_task("sudoku", level=level, reward="partial")
    ones, most = [], 0.0
    for item in task.items("val", 60):
        filled = "".join(str(digit or 1) for digit in item.data["clues"])
        ones.append(task.grade(item, filled).reward)
        place = item.data["clues"].index(0)
        solution = "".join(map(str, item.data["solution"]))
        wrong = str(int(solution[place]) % task.level.shape.side + 1)
        one_off = task.grade(item, solution[:place] + wrong + solution[place + 1 :])
        assert not one_off.correct and one_off.reward < 1
        most = max(most, one_off.reward)
        clue = next(place for place, digit in enumerate(item.data["clues"]) if digit)
        altered = solution[:clue] + str(int(solution[clue]) % task.level.shape.side + 1) + solution[clue + 1 :]
        assert task.grade(item, altered).reward == 0
        assert task.grade(item, task.demonstration(item)).reward == 1
    assert mean(ones) < 0.1 and most > 0.5


def test_chat_reads_exactly_one_answer_block() -> None:
    task = load_task("sudoku", level="S1", style="chat")
    item = task.items("val", 1)[0]
    gold = task.demonstration(item)
    assert task.grade(item, f"I think so.\n{gold} done").correct
    assert task.grade(item, gold + gold).reason == "several_answers"
    assert task.grade(item, gold.replace("</answer>", "")).reason == "several_answers"
    assert task.grade(item, "none").reason == "no_answer"
    (message,) = task.prompt(item)
    assert "2 rows and 2 columns" in message["content"]


@pytest.mark.parametrize("level", ["S0", "S1", "S2"])
def test_gold_is_right_on_ten_thousand(level: str) -> None:
    task = load_task("sudoku", level=level)
    n = 3400 if level != "S0" else 3200
    items = task.items("train", n)
    assert len(items) == n and all(task.grade(item, task.demonstration(item)).correct for item in items)


@given(st.text(max_size=400) | st.text("0123456789 _\n", max_size=60))
def test_nothing_raises(text: str) -> None:
    grade = TASK.grade(ITEM, text)
    assert grade.correct == (grade.reason == "ok")
