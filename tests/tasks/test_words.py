"""Word problems: their text read by a second implementation, their programs run by a third, levels, splits, grading."""

from __future__ import annotations

import json
import re
from collections import Counter
from fractions import Fraction
from functools import cache
from typing import Any

import pytest

from harness import load_task
from harness.contracts import Item
from harness.errors import UserError
from tasks.pool import split_of
from tasks.words.levels import LEVELS
from tasks.words.program import equations, needed, results
from tests.tasks.problem_reader import StoryReader, read_chain

CHAINS = {  # steps, largest start and operand of + and -, largest value, most sentences beside the point
    "W0": ((1, 1), 20, 100, 1),
    "W1": ((1, 3), 20, 100, 1),
    "W2": ((2, 3), 50, 999, 1),
    "W3": ((4, 4), 50, 999, 1),
    "W4": ((4, 6), 999, 999, 2),
}
EVERY = [*CHAINS, "W5"]


@cache
def items(level: str, n: int = 400) -> list[Item]:
    task = load_task("words", level=level)
    return [item for split in ("train", "val", "test") for item in task.items(split, None if level == "W0" else n)]


def run(program: list[list[Any]]) -> list[Fraction]:
    """Exact values of a program, with no care for what they are."""
    found: list[Fraction] = []
    for operator, *operands in program:
        a, b = (found[int(x[1:])] if isinstance(x, str) else Fraction(x) for x in operands)
        found.append({"+": a + b, "-": a - b, "*": a * b, "/": a / b, "%": a * b / 100}[operator])
    return found


def test_the_levels_are_those_tried_here() -> None:
    assert list(LEVELS) == EVERY


@pytest.mark.parametrize("level", CHAINS)
def test_a_second_reading_of_a_chain_finds_the_same_answer(level: str) -> None:
    for item in items(level):
        assert read_chain(item.data["problem"]) == item.data["answer"], item


def test_a_second_reading_of_a_story_finds_the_same_answer() -> None:
    for item in items("W5", 1500):
        assert StoryReader().read(item.data["problem"]) == item.data["answer"], item


@pytest.mark.parametrize("level", EVERY)
def test_programs_lead_to_the_answer_by_whole_numbers_in_range(level: str) -> None:
    (low, high), start, limit, _ = CHAINS.get(level, ((2, 6), 999, 999, 2))
    for item in items(level):
        program, values = item.data["program"], run(item.data["program"])
        assert values[-1] == item.data["answer"]
        assert all(value.denominator == 1 and 1 <= value <= limit for value in values)
        assert low <= len(program) <= high
        if level in CHAINS:
            assert 1 <= program[0][1] <= start
            for operator, _, operand in program:
                assert 1 <= operand <= start if operator in "+-" else 2 <= operand <= 10
        assert json.loads(json.dumps(item.data)) == item.data


@pytest.mark.parametrize("level", EVERY)
def test_every_step_of_a_demonstration_is_true_and_leads_to_the_answer(level: str) -> None:
    task = load_task("words", level=level)
    for item in items(level):
        steps, answer = re.fullmatch(r" (.*)\n#### ([0-9]+)", task.demonstration(item)).groups()
        assert int(answer) == item.data["answer"]
        for place, equation in enumerate(steps.split("; ")):
            left, value = equation.split("=")
            percent = re.fullmatch(r"([0-9]+)\*([0-9]+)/100", left)
            if percent:
                found = Fraction(int(percent[1]) * int(percent[2]), 100)
            else:
                a, operator, b = re.fullmatch(r"([0-9]+)([-+*/])([0-9]+)", left).groups()
                found = run([[operator, int(a), int(b)]])[0]
            assert found == int(value) == run(item.data["program"])[place]


@pytest.mark.parametrize("level", EVERY)
def test_levels_use_every_operator_and_number_of_steps(level: str) -> None:
    found = items(level)
    operators = Counter(step[0] for item in found for step in item.data["program"])
    assert set(operators) == set("+-*/%" if level == "W5" else "+-*/")
    assert min(operators.values()) > 0.03 * sum(operators.values())
    low, high = CHAINS[level][0] if level in CHAINS else (2, 6)
    assert {len(item.data["program"]) for item in found} == set(range(low, high + 1))


def test_sentences_beside_the_point_are_as_frequent_as_the_level_says() -> None:
    aside = re.compile(r"degrees outside|The bus takes|years old|\w+ has \d+ \w+ too")
    for level, (_, _, _, most) in CHAINS.items():
        counts = [len(aside.findall(item.data["problem"])) for item in items(level)]
        assert max(counts) == most
        expected = 1.5 if level == "W4" else 0.25
        assert abs(sum(counts) / len(counts) - expected) < 0.06


@pytest.mark.parametrize("level", EVERY)
def test_no_split_shares_a_problem_with_another_or_with_pre_training(level: str) -> None:
    task = load_task("words", level=level)
    where: dict[str, str] = {}
    for split in ("train", "val", "test", "pretrain"):
        for item in task.items(split, None if level == "W0" else 700):
            assert where.setdefault(json.dumps(item.data["program"]), split) == split


def test_a_chain_is_in_the_same_split_at_every_level() -> None:
    """So nothing that the lab's base model has learnt is asked at a level whose range overlaps the corpus's."""
    for level in CHAINS:
        for item in items(level):
            program = item.data["program"]
            key = str(program[0][1]) + "".join(f"{operator}{operand}" for operator, _, operand in program)
            assert split_of("words", key) == item.split


def test_a_story_is_in_the_split_of_its_program_whatever_its_scene() -> None:
    for item in items("W5"):
        steps = " ".join(f"{operator}{left},{right}" for operator, left, right in item.data["program"])
        assert split_of("words", f"story: {steps}") == item.split


def test_the_two_styles_ask_the_same_problem() -> None:
    plain, chat = load_task("words", level="W1"), load_task("words", level="W1", style="chat")
    for one, other in zip(plain.items("val", 20), chat.items("val", 20), strict=True):
        assert one == other
        assert plain.prompt(one) == f"question: {one.data['problem']}\nanswer:"
        (turn,) = chat.prompt(one)
        assert turn["role"] == "user" and turn["content"].startswith(one.data["problem"]) and "####" in turn["content"]
        assert chat.grade(one, chat.demonstration(one)).correct
        assert plain.demonstration(one) == " " + chat.demonstration(one)


def test_grading_reports_both_rules_and_the_chosen_one_decides() -> None:
    strict, flexible = load_task("words", level="W1"), load_task("words", level="W1", answer="flexible")
    item = Item("x", "val", {"problem": "", "program": [["+", 7, 5]], "answer": 12})
    for text, by_strict, by_flexible in (
        (" 7+5=12\n#### 12", True, True),
        (" 7+5=12\n#### 12.0 eggs", True, True),
        (" 7+5=12", False, True),
        (" 7+5=13\n#### 13", False, False),
        (" 7+5=12\n#### 12\nquestion: and 3?\nanswer: #### 3", True, True),
        (" #### 120", False, False),
        (" #### 1 2", False, False),
    ):
        for task, right in ((strict, by_strict), (flexible, by_flexible)):
            grade = task.grade(item, text)
            assert grade.correct == right and grade.reward == float(right), text
            assert grade.measures == {"strict": float(by_strict), "flexible": float(by_flexible)}


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(UserError, match="W9"):
        load_task("words", level="W9")


def test_steps_that_are_not_needed_fall_out_of_a_program() -> None:
    program = [["*", 3, 4], ["+", 5, 6], ["-", "r0", 2], ["*", "r1", "r1"], ["%", "r2", 50]]
    assert needed(program, "r4") == [["*", 3, 4], ["-", "r0", 2], ["%", "r1", 50]]
    assert needed(program, "r3") == [["+", 5, 6], ["*", "r0", "r0"]]
    assert needed(program, 7) == []
    assert results(program) == [12, 11, 10, 121, 5]
    assert equations(program)[-1] == "10*50/100=5"


@pytest.mark.parametrize("step", [["-", 3, 3], ["-", 3, 4], ["/", 7, 2], ["%", 7, 10]])
def test_a_step_that_is_no_whole_number_from_1_up_is_refused(step: list[Any]) -> None:
    with pytest.raises(ValueError, match="whole number"):
        results([step])
