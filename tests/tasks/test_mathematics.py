"""Mathematics: which answers are the same, what a hostile one costs, and what is said of bad data."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import load_task
from harness.errors import UserError
from tasks.mathematics.answer import find_answer, same_answer
from tasks.mathematics.verifier import Verifier
from tests.quickest import quickest

DATA = Path(__file__).parent / "data" / "mathematics"


@pytest.mark.parametrize(
    ("gold", "answer", "same"),
    [
        ("\\frac{5}{7}", "\\dfrac{5}{7}", True),
        ("\\frac{5}{7}", "5/7", True),
        ("\\frac{5}{7}", "\\frac57", True),
        ("\\frac{5}{7}", "\\frac{10}{14}", True),
        ("\\frac{5}{7}", "\\frac{7}{5}", False),
        ("\\frac{1}{8}", "0.125", True),
        ("\\sqrt{17}", "17^{1/2}", True),
        ("\\sqrt{17}", "\\sqrt{71}", False),
        ("(x-2)(x-3)", "(x-3)(x-2)", True),
        ("x^3 + 3x^2 + 3x + 1", "1 + 3x + 3x^2 + x^3", True),
        ("x^3 + 3x^2 + 3x + 1", "1 + 3x + 3x^2 + x^4", False),
        ("\\{2, 3\\}", "\\{3, 2\\}", True),
        ("\\{2, 3\\}", "\\{2\\}", False),
        ("(-3, 3)", "(-3,3)", True),
        ("(-3, 3)", "[-3, 3]", False),
        ("(3, 7)", "(7, 3)", False),
        ("36\\pi", "36 \\pi", True),
        ("36\\pi", "36", False),
        ("86400", "86,400", True),
        ("86400", "86400.0", True),
        ("86400", "86401", False),
        ("1000", "1009", False),
        ("5", "٥", False),
        ("5", "", False),
    ],
)
def test_whether_two_answers_are_the_same(gold: str, answer: str, same: bool) -> None:
    assert same_answer(gold, answer).same is same


@pytest.mark.parametrize(
    ("completion", "text", "reason"),
    [
        ("so \\boxed{\\frac{1}{2}} it is", "\\frac{1}{2}", "ok"),
        ("first \\boxed{1}, no, \\boxed{2}", "2", "ok"),
        ("\\boxed{3}</think>\\boxed{4}", "4", "ok"),
        ("<think>\\boxed{3}", None, "unfinished_thought"),
        ("thus \\fbox{9}", "9", "ok"),
        ("thus $\\boxed 9$", "9", "ok"),
        ("thus $\\boxed 12.$", "12", "ok"),
        ("\\boxed and gone", None, "no_answer"),
        ("The answer is $12$.", "12", "ok"),
        ("\\boxed{", None, "unbalanced"),
        ("\\boxed{}", None, "no_answer"),
        ("\\boxed{" + "1" * 301 + "}", None, "too_long"),
        ("it may be 12", None, "no_answer"),
        ("", None, "empty"),
    ],
)
def test_where_the_answer_stands(completion: str, text: str | None, reason: str) -> None:
    assert find_answer(completion) == (text, reason)


@given(st.text(alphabet="\\boxed{}$ 123abc<>/think\n", max_size=400))
@settings(max_examples=500, deadline=None)
def test_finding_an_answer_never_raises(text: str) -> None:
    found = find_answer(text)
    assert (found.text is None) == (found.reason != "ok")


HOSTILE = (
    "9^{9^{9^{9^{9}}}}",
    "\\frac{" * 40 + "1" + "}{2}" * 40,
    "\\sum_{n=1}^{\\infty} \\frac{1}{n^{n^{n}}}",
    "\\int_0^{10^{10}} \\sin(x^{x^{x}}) dx",
    "(x+1)^{99999}",
    "\\binom{10^9}{10^8}",
    "10^{9}!!!!",
    "__import__('os').system('touch /tmp/hacked')",
    "\\sqrt[" * 60,
    "\x00",
    "\ud800",
)


def test_hostile_latex_hangs_nothing() -> None:
    """Each is refused within the limit, and the next honest question is answered as ever."""
    verifier = Verifier(seconds=1.0)
    verifier.same("\\frac{1}{2}", "0.5")
    try:
        for text in HOSTILE:
            started = time.perf_counter()
            assert not verifier.same("\\sqrt{17}", text).same
            assert time.perf_counter() - started < 4.0, text
            assert verifier.same("\\frac{1}{2}", "\\frac{2}{4}").same, text
    finally:
        verifier.close()
    assert not Path("/tmp/hacked").exists()


def test_a_question_that_takes_too_long_is_stopped() -> None:
    verifier = Verifier(seconds=0.3)
    verifier.same("1", "2")
    reasons = {verifier.same("\\sqrt{17}", text).reason for text in HOSTILE[:7]}
    assert "timeout" in reasons
    verifier.close()


def test_a_killed_worker_is_replaced() -> None:
    verifier = Verifier()
    assert verifier.same("\\frac{1}{2}", "0.5").same
    first = verifier._process
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert verifier.same("\\frac{1}{2}", "0.5").same
    assert verifier._process is not first
    verifier.close()


def _ask(verifier: Verifier, answers: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    answers.put([verifier.same("\\frac{1}{2}", f"\\frac{{{k}}}{{{2 * k}}}").same for k in range(1, 6)])
    verifier.close()


def test_a_forked_process_has_its_own_worker() -> None:
    verifier = Verifier()
    assert verifier.same("\\frac{1}{2}", "0.5").same
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_ask, args=(verifier, answers))
    child.start()
    here = [verifier.same("\\frac{1}{3}", f"\\frac{{{k}}}{{{2 * k}}}").same for k in range(1, 6)]
    assert answers.get(timeout=60) == [True] * 5
    child.join()
    assert here == [False] * 5 and verifier.same("2", "\\sqrt{4}").same
    verifier.close()


@pytest.mark.parametrize(
    "tower",
    ["9^{9^{9}}", "9 ^ 9 ^ 9", "10^{10^{10}}", "2^{100000000}", "2^100000", "999999!", "(1234)!", "17^{17^{17}} + 1"],
)
def test_a_tower_is_refused_at_once(tower: str) -> None:
    task = load_task("math-500", data=str(DATA))
    item = task.items("test")[0]
    grade, seconds = quickest(lambda: task.grade(item, f"\\boxed{{{tower}}}"))
    assert seconds < 0.05
    assert not grade.correct and grade.reason == "too_large"


def test_towers_that_the_gold_answer_has_too_are_compared() -> None:
    assert same_answer("2^{2^{3}}", "2^{2^3}").same and not same_answer("2^{2^{3}}", "2^{2^{2}}").same
    assert same_answer("x^{y^2}", "x^{y^{2}}").same and same_answer("1024", "2^{10}").same


def test_gold_is_right_in_other_words_and_groups_are_measured() -> None:
    task = load_task("math-500", data=str(DATA))
    item = task.items("test")[0]
    grade = task.grade(item, "I think it is \\boxed{\\dfrac{10}{14}}.")
    assert grade.correct and grade.reward == 1.0
    assert grade.measures == {"level 1": 1.0, "subject Number Theory": 1.0}
    assert task.grade(item, "\\boxed{\\frac{7}{5}}").reason == "different"


def test_aime_answers_are_whole_numbers() -> None:
    task = load_task("aime", data=str(DATA / "aime.jsonl"))
    item = next(i for i in task.items("test") if i.data["answer"].startswith("0"))
    assert task.grade(item, f"\\boxed{{{item.data['answer'].lstrip('0')}}}").correct
    assert not task.grade(item, f"\\boxed{{{item.data['answer']}.0}}").correct
    assert not task.grade(item, f"\\boxed{{{item.data['answer']}+0}}").correct


def _write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"problem": "p", "answer": "1"}, {"problem": "q"}], "line 2.*no text in column 'answer'"),
        ([{"problem": "p", "answer": "1"}, "{broken"], "line 2.*not JSON"),
        ([{"question": "p", "answer": "1"}], "line 1.*no column 'problem'"),
        ([{"problem": "p", "answer": "1"}, {"problem": "p", "answer": "1"}], "line 2.*repeats line 1"),
        ([{"problem": "p", "answer": "1}"}], "line 1.*rejected by its own grader"),
        ([{"problem": "p", "answer": "2" * 400}], "line 1.*rejected by its own grader"),
        ([{"problem": "p", "answer": True}], "line 1.*no text"),
        ([""], "is empty"),
    ],
)
def test_bad_rows_are_named(rows: list[object], said: str, tmp_path: Path) -> None:
    task = load_task("math-500", data=str(_write(tmp_path / "test.jsonl", *rows)))
    with pytest.raises(UserError, match=said):
        task.items("test", 1)


def test_what_cannot_be_trained_on_is_refused(tmp_path: Path) -> None:
    task = load_task("math-500", data=str(DATA))
    with pytest.raises(UserError, match="without training problems"):
        task.items("train", 1)
    first = json.loads((DATA / "test.jsonl").read_text().splitlines()[0])
    train = _write(tmp_path / "train.jsonl", {"problem": "p", "answer": "1"}, first)
    task = load_task("math-500", data=str(DATA), train=str(train))
    with pytest.raises(UserError, match=r"line 2.*also a test problem"):
        task.items("train", 1)
    with pytest.raises(UserError, match=r"line 1.*whole number"):
        load_task("aime", data=str(DATA)).items("test", 1)
