"""The reading of numeric answers, on what fooled other graders and on arbitrary text."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.gsm8k.answer import numeric_answer, read_number, same_number
from tasks.gsm8k.verdict import judge

STOP = "Question:"
# completion, gold, right by the strict rule, right by the flexible rule
PROBES = [
    ("#### 18", "18", True, True),
    ("#### $18", "18", True, True),
    ("####18", "18", True, True),
    ("#### +18", "18", True, True),
    ("#### 18.00", "18", True, True),
    ("#### 18.", "18", True, True),
    ("#### 18.0", "18", True, True),
    ("#### 18%", "18", True, True),
    ("#### \\$18", "18", True, True),
    ("#### **18**", "18", True, True),
    ("#### 18 eggs", "18", True, True),
    ("####\n18", "18", True, True),
    ("#### 18 (rounded to 2 decimals)", "18", True, True),
    ("18 (rounded to 2 decimals)", "18", False, False),
    ("18 (rounded to 2 decimals)", "2", False, True),
    ("It is 1/18", "18", False, False),
    ("It is 1/18", "1/18", False, True),
    ("It is 36/2", "18", False, True),
    ("So 18 apples in 3 boxes", "18", False, False),
    ("So 18 apples in 3 boxes", "3", False, True),
    ("… 18 …", "18", False, True),
    ("it is .. 18 ..", "18", False, True),
    ("...18", "18", False, True),
    ("$.18", "18", False, False),
    ("$.18", "0.18", False, True),
    ("#### $.18", "18", False, False),
    ("Rs.18", "18", False, True),
    ("#### 17\nNo, wait.\n#### 18", "18", True, True),
    ("#### 18\nNo, wait.\n#### 17", "18", False, False),
    ("#### 18\n\nQuestion: And then?\nAnswer: 5\n#### 5", "18", True, True),
    ("The answer is 18.\n\nQuestion: 5 and 5?", "18", False, True),
    ("#### 18\n\nQuestion: And then?\nAnswer: 5\n#### 5", "5", False, False),
    ("Question: 18", "18", False, False),
    ("A: 26", "26", False, True),
    ("18, ,", "18", False, True),
    (",", "0", False, False),
    (".", "0", False, False),
    ("#### ,", "0", False, False),
    ("#### -5", "-5", True, True),
    ("#### −5", "-5", True, True),
    ("#### -5", "5", False, False),
    ("#### -$5", "-5", True, True),
    ("#### $-5", "-5", True, True),
    ("It is -5", "-5", False, True),
    ("It is (-5)", "-5", False, True),
    ("x=-5", "-5", False, True),
    ("so 20-5", "-5", False, False),
    ("so 20-5", "5", False, True),
    ("pages 3 - 5", "5", False, True),
    ("-5", "-5", False, True),
    ("#### 1,000", "1000", True, True),
    ("#### 1000", "1,000", True, True),
    ("#### 1,000", "1", False, False),
    ("#### $2,880,000.00", "2880000", True, True),
    ("#### 10,00", "1000", False, False),
    ("#### 1,18", "18", False, False),
    ("1,000", "1000", False, True),
    ("#### 1_000", "1", False, False),
    ("1_000", "0", False, False),
    ("#### 1e3", "1", False, False),
    ("1e3", "3", False, False),
    ("0x12", "12", False, False),
    ("10^18", "18", False, False),
    ("#### 018", "18", False, False),
    ("#### 9*2", "9", False, False),
    ("#### 9 * 2 = 18", "9", False, False),
    ("#### 9 * 2 = 18", "18", False, True),
    ("#### 18 / 3", "18", False, False),
    ("#### 18/3", "6", True, True),
    ("#### 1+4", "1", False, False),
    ("#### 10-12", "10", False, False),
    ("#### 18:30", "18", False, False),
    ("#### 1.5.2", "1.5", False, False),
    ("#### ١٨", "18", False, False),
    ("١٨", "18", False, False),
    ("#### １８", "18", False, False),
    ("#### Answer: 18", "18", False, True),
    ("#### 3. Compute the total\nIt is \\boxed{18}.", "18", True, True),
    ("#### 3) Compute the total\nIt is 18.", "18", False, True),
    ("\\boxed{18}", "18", True, True),
    ("\\boxed{\\$18}", "18", True, True),
    ("\\boxed{18\\%}", "18", True, True),
    ("\\boxed{18 \\text{ dollars}}", "18", True, True),
    ("\\boxed{1{,}000}", "1000", True, True),
    ("\\boxed{9 \\times 2}", "9", False, False),
    ("\\boxed{\\frac{36}{2}}", "36", False, False),
    ("\\boxed{5} or rather \\boxed{18}", "18", True, True),
    ("\\boxed{18}\n#### 5", "5", True, True),
    ("<answer>18</answer>", "18", True, True),
    ("<answer> $18 a day </answer>", "18", True, True),
    ("<answer>18</answer> of 20", "18", True, True),
    ("<answer>5</answer> \\boxed{18}", "18", True, True),
    ("<think>It is 5.\n#### 5</think>\n#### 18", "18", True, True),
    ("<think>It is 5.\n#### 5</think>\nIt is 18.", "5", False, False),
    ("<think>It is 18.\n#### 18", "18", False, False),
    ("<think>Question: what? 5</think>\n#### 18", "18", True, True),
    ("#### 18 ####", "18", True, True),
    ("#### " + "7" * 41, "7" * 41, False, False),
    ("#### " + "9" * 200_000, "9", False, False),
    ("", "0", False, False),
    ("no number", "0", False, False),
]


@pytest.mark.parametrize(("completion", "gold", "strict", "flexible"), PROBES)
def test_probes(completion: str, gold: str, strict: bool, flexible: bool) -> None:
    by_strict, by_flexible = judge(completion, gold, "strict", STOP), judge(completion, gold, "flexible", STOP)
    assert (by_strict.correct, by_flexible.correct) == (strict, flexible)
    assert by_strict.measures == by_flexible.measures == {"strict": float(strict), "flexible": float(flexible)}
    for grade in (by_strict, by_flexible):
        assert (grade.reason == "ok") == grade.correct == (grade.reward == 1)
        assert grade.parsed is None or grade.parsed in completion


@pytest.mark.parametrize(
    ("completion", "strict", "flexible"),
    [
        (" \n", "empty", "empty"),
        ("It is 18.", "no_answer", "wrong_number"),
        ("It is not known.", "no_answer", "no_answer"),
        ("#### unknown", "not_a_number", "not_a_number"),
        ("#### 1e3", "not_a_number", "not_a_number"),
        ("#### 18", "wrong_number", "wrong_number"),
        ("<think>18", "unfinished_thought", "unfinished_thought"),
    ],
)
def test_reasons(completion: str, strict: str, flexible: str) -> None:
    assert judge(completion, "5", "strict").reason == strict
    assert judge(completion, "5", "flexible").reason == flexible


def test_an_answer_in_the_asked_form_is_well_formed_by_either_rule() -> None:
    for rule in ("strict", "flexible"):
        assert judge("#### 5", "18", rule).well_formed
        assert not judge("It is 18", "18", rule).well_formed


def test_where_the_number_was_found() -> None:
    marks = {"#### 1": "####", "\\boxed{1}": "boxed", "<answer>1</answer>": "answer", "1": "last", "one": "none"}
    assert {text: numeric_answer(text, "flexible").mark for text in marks} == marks


def test_without_a_stop_string_the_whole_text_is_read() -> None:
    assert numeric_answer("Question: what? #### 18").text == "18"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", Fraction(18)),
        ("18.50", Fraction(37, 2)),
        (".5", Fraction(1, 2)),
        ("-1,234,567", Fraction(-1234567)),
        ("$70,000", Fraction(70000)),
        ("-$3", Fraction(-3)),
        (" 3% ", Fraction(3)),
        ("1/3", Fraction(1, 3)),
        ("1/0", None),
        ("--3", None),
        ("3 4", None),
        ("12,34", None),
        ("1234,567", None),
        ("0,123", None),
        ("03", None),
        ("1e3", None),
        ("1_0", None),
        ("nan", None),
        ("inf", None),
        ("٣", None),
        ("", None),
        ("7" * 41, None),
    ],
)
def test_reading_a_number(text: str, value: Fraction | None) -> None:
    assert read_number(text) == value


def test_comparing_is_exact_and_nothing_equals_no_number() -> None:
    assert same_number("0.1", "1/10") and same_number("1,000.00", "$1000")
    assert not same_number("0.3333333333333333", "1/3")
    assert not same_number("10000000000000000", "10000000000000001")
    assert not same_number(None, None) and not same_number("x", "x") and not same_number("1", None)


PIECES = ["#", "####", " ", "\n", "18", "7", ",", ".", "/", "-", "−", "+", "$", "%", "\\boxed{", "}", "<answer>", "e"]
PIECES += [
    "</answer>",
    "<think>",
    "</think>",
    "Question:",
    "*",
    "_",
    "x",
    "A",
    "3.",
    "\\",
    "٣",
    "\ud800",
    "\x00",
    "=",
    ":",
]


@given(st.one_of(st.text(max_size=80), st.lists(st.sampled_from(PIECES), max_size=25).map("".join)))
@settings(max_examples=1500, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    strict, flexible = (numeric_answer(text, rule, STOP) for rule in ("strict", "flexible"))
    for found in (strict, flexible):
        assert (found.text is not None) == (found.reason == "ok") == (found.mark != "none")
        if found.text is not None:
            assert found.text in text and read_number(found.text) is not None
    if strict.text is not None:
        assert flexible == strict


@given(st.integers(-(10**12), 10**12), st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_every_spelling_of_a_number_is_read(value: int, zeros: int) -> None:
    plain, tail = str(value), "." + "0" * zeros if zeros else ""
    for spelling in (plain, f"{value:,}", f"{plain}{tail}", f"{value:,}{tail}"):
        assert judge(f"So it is\n#### {spelling}", plain, "strict").correct
        assert judge(f"So it is {spelling}.", plain, "flexible").correct
        assert not judge(f"#### {spelling}", str(value + 1), "strict").correct


@pytest.mark.parametrize(
    "text",
    [
        *(part * 100_000 for part in ("#### ", "####1+", "\\boxed{1+", "1,", ".", "-$", "<answer>", "1/", "</think>")),
        "#### " + " " * 10**6 + "1",
        "#" * 10**6 + "1/",
    ],
    ids=range(11),
)
def test_long_texts_are_quick(text: str) -> None:
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        judge(text, "18", "flexible", STOP)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.05
