"""The Countdown grader on attacks that fooled published graders, on rewards, and against exact arithmetic."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import load_task
from harness.contracts import Grade, Item
from tasks.countdown.expression import ExpressionError, evaluate
from tasks.countdown.style import format_score
from tests.quickest import quickest


def item(numbers: list[int], target: object) -> Item:
    return Item("x", "val", {"numbers": numbers, "target": target})


def written(style: str, expression: str) -> str:
    return f"#{expression}" if style == "compact" else f" so </think>\n<answer>{expression}</answer>"


def graded(numbers: list[int], target: object, expression: str) -> Grade:
    task = load_task("countdown", level="paper")
    return task.grade(item(numbers, target), written("paper", expression))


ATTACKS = [
    ([4, 2], 16, "4**2", "syntax"),
    ([7, 2], 3, "7//2", "syntax"),
    ([44, 19, 35], 16, "44**19**35", "syntax"),
    ([99, 99, 99], 16, "99**99**99", "syntax"),
    ([1, 5, 4], 6, "1.5*4", "bad_character"),
    ([3, 5], 11, "3+5+floor(pi)", "bad_character"),
    ([7, 9], 16, "(7+9)*(E-E)+16", "bad_character"),
    ([3, 5], 8, '__import__("os").system("true")+3+5', "bad_character"),
    ([2, 50001], 100002, "50001*2", "long_literal"),
    ([2, 3], 6, "cheese", "bad_character"),
    ([2, 3], 5, "2+3=5", "equals_sign"),
    ([3, 5], 8, "05+3", "leading_zero"),
    ([3, 5], 15, "(3)(5)", "syntax"),
    ([1, 2], 12, "1_2", "bad_character"),
    ([3, 5], 8, "-3+11", "syntax"),
    ([3, 5], 15, "3 5", "syntax"),
    ([3, 5], 8, "٣+5", "bad_character"),
    ([3, 5], 8, "３+5", "bad_character"),
    ([3, 5], 8, "0x3+5", "bad_character"),
    ([3, 5], 8, "3e0+5", "bad_character"),
    ([3, 0], 8, "3/0", "division_by_zero"),
    ([3, 5], 8, "", "empty"),
    ([3, 5], 8, "(3+5", "syntax"),
    ([3, 5], 8, "3+5)", "syntax"),
    ([3, 5], 8, "(" * 40 + "3+5" + ")" * 40, "too_deep"),
    ([3, 5], 8, "3+5" + " " * 200, "too_long"),
    ([3, 5, 2], 8, "3+5", "wrong_numbers"),
    ([3, 5], 11, "3+5+3", "wrong_numbers"),
    ([3, 3], 8, "3+5", "wrong_numbers"),
    ([3, 5], 9, "3+5", "wrong_value"),
    ([100, 1], 10001, "100*100+1", "wrong_numbers"),
]


@pytest.mark.parametrize(("numbers", "target", "expression", "reason"), ATTACKS)
@pytest.mark.parametrize("style", ["paper", "chat", "compact"])
def test_attacks_are_refused_for_their_reason(
    numbers: list[int], target: int, expression: str, reason: str, style: str
) -> None:
    task, text = load_task("countdown", level="paper", style=style), written(style, expression)
    grade, seconds = quickest(lambda: task.grade(item(numbers, target), text))
    assert seconds < 0.1
    assert not grade.correct and grade.reward == 0
    assert grade.reason == reason


@pytest.mark.parametrize(
    ("numbers", "target", "expression"),
    [
        ([3, 5], 8, "3+5\n"),
        ([3, 5], 15, "3 × 5"),
        ([6, 3], 2, "6 ÷ 3"),
        ([6, 3], 3, "6 − 3"),
        ([1, 3, 3], 1, "1/3*3"),
        ([5, 3, 8], 10, "8+(5-3)"),
        ([10, 4, 4, 10], "3.6", "(10*4-4)/10"),
        ([3, 11], -8, "3-11"),
    ],
)
def test_right_answers_are_right(numbers: list[int], target: object, expression: str) -> None:
    grade = graded(numbers, target, expression)
    assert grade.correct and grade.reward == 1 and grade.reason == "ok"


def test_the_comparison_is_exact() -> None:
    """An answer off by one part in a hundred thousand is wrong."""
    assert graded([9999, 10, 12], 100002, "9999*10+12").correct
    assert not graded([9999, 10, 11], 100002, "9999*10+11").correct


def test_where_the_answer_stands() -> None:
    task = load_task("countdown", level="paper")
    three_five = item([3, 5], 8)
    assert task.grade(three_five, "<answer>5*3</answer> no, <answer>3+5</answer>").correct
    assert not task.grade(three_five, "<answer>3+5</answer> no, <answer>5*3</answer>").correct
    assert task.grade(three_five, "<answer>3+5</answer>\nThat is it.").correct
    assert task.grade(three_five, "3+5").reason == "no_answer"
    compact = load_task("countdown", level="L2")
    assert compact.grade(three_five, "3*5=15;3+5=8#3+5").correct
    assert compact.grade(three_five, "#3*5#3+5").reason == "several_answers"


@pytest.mark.parametrize(
    ("numbers", "expression", "target"), [([2, 3, 4], "2*3+4", 10), ([7, 1, 5], "(7-1)*5", 30), ([8, 2, 2], "8/2-2", 2)]
)
def test_what_must_not_matter_does_not_matter(numbers: list[int], expression: str, target: int) -> None:
    assert graded(numbers, target, expression).correct
    assert graded(numbers[::-1], target, expression).correct
    assert graded(numbers, target, f"  ( {expression} ) ").correct
    assert not graded([*numbers, 1], target, expression).correct
    assert not graded(numbers[1:], target, expression).correct
    assert not graded(numbers, target + 1, expression).correct


def test_rewards_follow_their_papers_and_accuracy_follows_none() -> None:
    right, junk = " ok </think>\n<answer>3+5</answer>", " ok </think>\n<answer>cheese</answer>"
    for reward, of_right, of_junk, of_nothing in (
        ("correct", 1.0, 0.0, 0.0),
        ("tinyzero", 1.0, 0.1, 0.0),
        ("es-paper", 1.1, 0.1, 0.0),
    ):
        task = load_task("countdown", level="paper", reward=reward)
        grades = [task.grade(item([3, 5], 8), text) for text in (right, junk, "nothing")]
        assert [grade.reward for grade in grades] == pytest.approx([of_right, of_junk, of_nothing])
        assert [grade.correct for grade in grades] == [True, False, False]


@pytest.mark.parametrize(
    ("completion", "score"),
    [
        (" a </think>\n<answer>1</answer>", 1.0),
        (" a </think> b <answer>1</answer>", 0.6),
        ("<answer>1</answer>", 0.5),
        (" a </think>", 0.1),
        ("nothing", 0.0),
    ],
)
def test_the_es_papers_format_score(completion: str, score: float) -> None:
    assert format_score(completion) == pytest.approx(score)


Tree = tuple[str, Fraction | None, list[int]]


def _tree(rng: random.Random, depth: int) -> Tree:
    """A random expression: its text, its value by Fraction arithmetic on the tree (None: undefined), its literals."""
    if depth == 0 or rng.random() < 0.2:
        number = rng.randint(0, 99)
        return str(number), Fraction(number), [number]
    (left, a, first), (right, b, second) = _tree(rng, depth - 1), _tree(rng, depth - 1)
    operator = rng.choice("+-*/")
    if a is None or b is None or (operator == "/" and b == 0):
        value = None
    else:
        value = {"+": a + b, "-": a - b, "*": a * b}[operator] if operator != "/" else a / b
    return f"({left}){operator}({right})", value, first + second


def test_the_evaluator_agrees_with_exact_arithmetic_on_trees() -> None:
    rng = random.Random(0)
    compared = 0
    while compared < 20_000:
        text, value, literals = _tree(rng, 3)
        if len(text) > 128:
            continue
        compared += 1
        if value is None:
            with pytest.raises(ExpressionError, match="division_by_zero"):
                evaluate(text)
        else:
            found = evaluate(text)
            assert found.value == value and list(found.literals) == literals


@given(st.text(max_size=300))
@settings(max_examples=500, deadline=None)
def test_any_text_is_evaluated_or_refused(text: str) -> None:
    try:
        assert isinstance(evaluate(text).value, Fraction)
    except ExpressionError as error:
        assert error.reason


@given(st.text(alphabet="0123456789+-*/() ", max_size=60))
@settings(max_examples=500, deadline=None)
def test_text_of_the_right_letters_is_evaluated_or_refused(text: str) -> None:
    try:
        assert isinstance(evaluate(text).value, Fraction)
    except ExpressionError as error:
        assert error.reason
