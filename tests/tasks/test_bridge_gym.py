"""Sets of reasoning-gym as tasks: what executes text is kept out, gold is right, splits share nothing."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import importlib
import inspect
import io
import json
import os
import subprocess
import sys
import textwrap
import time
from itertools import combinations, pairwise
from types import FunctionType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import load_task
from harness.contracts import Item
from harness.errors import UserError
from tasks.bridges.gym_graders import GRADERS
from tasks.bridges.gym_rules import REFUSED, REGRADED, SLOW_TO_OPEN
from tests.contracts.test_tasks import HOSTILE, QUICK_SECONDS, text_of

SAMPLE = [
    *sorted(GRADERS),
    *("chain_sum", "gcd", "sudoku", "jugs", "knights_knaves", "game_of_life", "graph_color", "tower_of_hanoi"),
    *("polynomial_equations", "acre", "rearc", "power_function", "time_intervals", "sokoban", "survo"),
]
OTHERS_WRONG = [name for name in SAMPLE if name not in ("game_of_life_halting", "calendar_arithmetic", "acre")]
"""Sets with more than a handful of answers, so that another item's answer is another."""
N = 3
ANSWERS = {
    "long move": "U99999999999",
    "move": "F+99999999999",
    "exponent": "1e99999999",
    "small exponent": "1e-99999999",
    "nan": "nan",
    "infinite": "inf",
    "nested": "[" * 900,
    "closed": "[" * 450 + "]" * 450,
    "walk": "wasd" * 249,
    "long list": json.dumps(["fill A"] * 90),
    "digits": "9" * 999,
    "call": '__import__("os").system("true")',
    "comprehension": "[x for x in range(10**9)]",
    "dictionary": "{}",
    "fraction": "1/0",
}


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    """The sampled sets, each with a few items."""
    found = {}
    for name in SAMPLE:
        task = load_task(f"reasoning-gym:{name}")
        found[name] = task, list(task.items("train", N))
    return found


# What executes text, by the names under which it is called; Fraction writes out the digits of 1e99999999.
DANGEROUS = {
    *("eval", "exec", "compile", "__import__", "parse_expr", "sympify", "literal_eval", "pickle", "Fraction"),
    *("system", "popen", "Popen", "run", "check_output", "import_module", "simplify", "parse_latex", "open"),
}


def dangers(name: str) -> set[str]:
    """The dangerous names that a set's `score_answer` uses, itself or in what it calls of reasoning_gym."""
    import reasoning_gym  # noqa: F401 - registers the sets
    from reasoning_gym.factory import DATASETS

    cls = DATASETS[name][0]
    waiting: list[Any] = [cls.score_answer]
    seen: set[Any] = set()
    found: set[str] = set()
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
        module = importlib.import_module(one.__module__)
        for node in ast.walk(tree):
            used = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None
            if used is None:
                continue
            owner: Any = module if isinstance(node, ast.Name) else cls
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                owner = getattr(module, node.value.id, cls)
            target = getattr(owner, used, None)
            ours = getattr(target, "__module__", "") or ""
            if isinstance(target, (FunctionType, type)) and ours.startswith("reasoning_gym"):
                waiting.append(target)
            elif used in DANGEROUS:
                found.add(used)
    return found


def test_every_scorer_that_executes_text_is_kept_out() -> None:
    import reasoning_gym  # noqa: F401
    from reasoning_gym.factory import DATASETS

    unsafe = {name: found for name in DATASETS if (found := dangers(name))}
    assert {"countdown", "puzzle24", "binary_matrix", "simple_integration", "n_queens", "coin_flip"} <= set(unsafe)
    unlisted = set(unsafe) - set(REFUSED) - set(REGRADED)
    assert not unlisted, {name: unsafe[name] for name in unlisted}


def test_the_tables_name_sets_that_are_there() -> None:
    import reasoning_gym  # noqa: F401
    from reasoning_gym.factory import DATASETS

    assert set(REGRADED) == set(GRADERS) and not set(REGRADED) & set(REFUSED)
    assert set(REFUSED) | set(REGRADED) | SLOW_TO_OPEN <= set(DATASETS)
    for name in REFUSED:
        with pytest.raises(UserError, match=f"'{name}' of reasoning-gym is not taken: "):
            load_task(f"reasoning-gym:{name}")


@pytest.mark.parametrize("name", SAMPLE)
def test_gold_is_right(made: dict[str, Any], name: str) -> None:
    task, items = made[name]
    for item in items:
        gold = task.demonstration(item)
        grade = task.grade(item, f"I think so. <answer>1</answer> No.\n{gold}")
        assert grade.correct and grade.well_formed and grade.reward == 1 and grade.parsed in gold
        assert task.grade(item, text_of(task.prompt(item))).reason in ("empty", "no_answer")
        assert task.grade(item, "").reason == "no_answer" and task.grade(item, "<answer> </answer>").reason == "empty"


@pytest.mark.parametrize("name", OTHERS_WRONG)
def test_another_items_answer_is_wrong(made: dict[str, Any], name: str) -> None:
    task, items = made[name]
    for item, other in pairwise(items):
        if item.data["answer"] != other.data["answer"]:
            assert not task.grade(item, task.demonstration(other)).correct


@pytest.mark.parametrize("name", SAMPLE)
def test_hostile_text_is_wrong_and_quick(made: dict[str, Any], name: str) -> None:
    task, items = made[name]
    item = items[0]
    hostile = {**HOSTILE, **{key: f"<answer>{text}</answer>" for key, text in ANSWERS.items()}}
    hostile |= {f"{key} in tags": f"<answer>{text[:999]}</answer>" for key, text in HOSTILE.items()}
    for key, text in hostile.items():
        if item.data["answer"].strip("0.") in text and len(item.data["answer"]) < 4:
            continue  # the right answer by chance
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            grade = task.grade(item, text)
            seconds.append(time.perf_counter() - started)
        assert min(seconds) < QUICK_SECONDS, key
        assert not grade.correct and grade.reward == 0 and grade.reason != "ok", key


def entry(answer: str, **metadata: Any) -> Item:
    return Item("x", "val", {"question": "?", "answer": answer, "metadata": metadata})


@pytest.mark.parametrize(
    ("name", "item", "right", "wrong"),
    [
        ("countdown", entry("", numbers=[3, 5, 2], target=16), ["(3+5)*2"], ["3+5+8", "(3+5)*2=16", "16", "8*2"]),
        ("countdown", entry("", numbers=[3, 5], target=8), ["5+3"], ["3+5+floor(pi)", "5+3+0", "05+3", "3.5+4.5"]),
        ("puzzle24", entry("", numbers=[6, 4, 1, 1]), ["6*4*1*1", "(6*4)/1/1"], ["6*4*1", "24", "6*4*1*2/2"]),
        ("puzzle24", entry("", numbers=[5, 1, 2, 8]), ["8*(5*1-2)"], ["6*4*1*1", "8*3*1*1", "249/10"]),
        ("coin_flip", entry("0.109375", rational={"numerator": 7, "denominator": 64}), ["0.109375", "7/64", "0.109"],
         ["0", "0.1", "0.12", "1e99999999", "nan", "7/0", "0.10"]),
        ("coin_flip", entry("1.0", rational={"numerator": 1, "denominator": 1}), ["1", "64/64"], ["0.999", "0"]),
        ("complex_arithmetic", entry("-15.0 - 5.0i"), ["-15 - 5i", "-15.0-5.0j"], ["nan", "-15", "-15.0 + 5.0i", "5i"]),
        ("complex_arithmetic", entry("0.0 + 1.0i"), ["i", "0 + i", "1i"], ["1", "-i", ""]),
        ("complex_arithmetic", entry("25.0 + 0.0i"), ["25", "25.0 + 0i"], ["2", "25i", "2 5"]),
        ("calendar_arithmetic", entry("-1", task="recurring_event_day"), ["-1"], ["3", "1", "100", "x"]),
        ("calendar_arithmetic", entry("Friday", task="weekday_offset"), ["Friday", "friday"], ["Fri", "Monday"]),
        ("game_of_life_halting", entry("False"), ["False", "false"], ["True", "no", "0", "falsefalse"]),
        ("number_sorting", entry("['-1', '7', '8']"), ["['-1', '7', '8']", "[-1, 7.0, 8]"],
         ["['-2', '7', '8']", "['-1', '7']", "-1, 7, 8", "['7', '-1', '8']", "[eval, 1, 2]"]),
        ("bitwise_arithmetic", entry("-0xa0"), ["-0xa0", "-0xA0"], ["0xa0", "-160", "0xfe", "-0xa0 "+"0"]),
        ("dice", entry("13369/15600"), ["13369/15600", "26738/31200"], ["13369/15601", "0.857", "1/0"]),
        ("gsm_symbolic", entry("-5"), ["-5", "-5.0"], ["5", "-5 apples", "5-"]),
        ("gsm_symbolic", entry("1000"), ["1,000", "$1000", "1000.00"], ["1", "1,00,0", "10,00"]),
        ("figlet_font", entry("ABCDEFGHIJKL"), ["abcdefghijkl", "A B C D E F G H I J K L"], ["ABCDEFGHIJxx", "ABC"]),
        ("spell_backward", entry("abcdefg"), ["abcdefg", "ABCDEFG"], ["abcdefgh", "abcdef"]),
        ("letter_jumble", entry("This is Ann"), ["this is ann"], ["This is", "This is Ann now"]),
        ("n_queens", entry("", valid_answers=["Q _\n_ _", "_ Q\n_ _"]), ["Q _ \n_ _", "_ Q\n_ _"], ["Q Q\n_ _", "Q"]),
        ("spiral_matrix", entry("1 2 3"), ["1 2 3", "1 2 3\n"], ["[1, 2, 3]", "1 2"]),
        ("binary_matrix", entry("0 1\n1 0"), ["0 1 \n1 0"], ["[[0,1],[1,0]]", "0 1 1 0"]),
        ("string_insertion", entry("ABC"), ["ABC"], ["['A','B','C']", "abc"]),
    ],
)  # fmt: skip
def test_our_graders(name: str, item: Item, right: list[str], wrong: list[str]) -> None:
    task = load_task(f"reasoning-gym:{name}")
    for answer in right:
        assert task.grade(item, f"<answer>{answer}</answer>").correct, answer
    for answer in wrong:
        assert not task.grade(item, f"<answer>{answer}</answer>").correct, answer


@given(text=st.one_of(st.text(max_size=80), st.text(alphabet="0123456789+-*/()[]'., eEijx\n", max_size=80)))
@settings(max_examples=200, deadline=None)
def test_any_text_is_graded(made: dict[str, Any], text: str) -> None:
    for name in (*GRADERS, "jugs", "knights_knaves", "polynomial_equations", "graph_color"):
        task, items = made[name]
        grade = task.grade(items[0], f"<answer>{text}</answer>")
        assert grade.reason and grade == task.grade(items[0], f"<answer>{text}</answer>")


def test_their_score_is_a_measure_and_only_the_full_one_is_right(made: dict[str, Any]) -> None:
    task, items = made["sudoku"]
    copied = items[0].data["answer"].replace("1", "2", 1)
    grade = task.grade(items[0], f"<answer>{copied}</answer>")
    assert not grade.correct and grade.reward == 0 and 0.5 < grade.measures["score"] < 1


def test_what_a_scorer_raises_is_the_reason(made: dict[str, Any]) -> None:
    task, items = made["game_of_life"]
    grade = task.grade(items[0], "<answer>{}</answer>")
    assert grade.reason == "scorer_failed: KeyError" and not grade.correct


@pytest.mark.parametrize("name", ["chain_sum", "knights_knaves", "dice"])
def test_splits_are_disjoint_and_in_one_order(name: str) -> None:
    one, other = (load_task(f"reasoning-gym:{name}") for _ in range(2))
    other.items("train", 3)
    seen: dict[str, str] = {}
    for split in ("train", "val", "test"):
        items = one.items(split, 8)
        assert list(other.items(split, 5)) == list(items[:5]) and list(one.items(split, 0)) == []
        for item in items:
            question = text_of(one.prompt(item))
            assert item.split == split and item.id not in seen and question not in seen
            seen[item.id] = seen[question] = split
    with pytest.raises(UserError, match="trian"):
        one.items("trian", 1)


def test_views_of_one_thing_are_in_one_split() -> None:
    task = load_task("reasoning-gym:rearc")
    shown = [{i.data["metadata"]["task_id"] for i in task.items(split, 8)} for split in ("train", "val", "test")]
    assert all(not one & other for one, other in combinations(shown, 2))
    countdown = load_task("reasoning-gym:countdown", config={"min_numbers": 2, "max_numbers": 2, "min_value": 50})
    numbers = [str(sorted(item.data["metadata"]["numbers"])) for item in countdown.items("train", 12)]
    assert len(set(numbers)) == 12


def test_an_item_does_not_come_from_its_neighbours_seed() -> None:
    """In reasoning-gym seed 1 item 1 is seed 2 item 0; here no two places share a question."""
    task = load_task("reasoning-gym:gcd")
    questions = [item.data["question"] for split in ("train", "val", "test") for item in task.items(split, 200)]
    assert len(set(questions)) == 600


@pytest.mark.parametrize("name", sorted(SLOW_TO_OPEN))
def test_a_copy_with_another_seed_is_a_set_of_that_seed(name: str) -> None:
    from reasoning_gym.factory import create_dataset

    task: Any = load_task(f"reasoning-gym:{name}")
    seed = 2**62 + 12345
    copied, fresh = task._open(seed)[0], create_dataset(name, seed=seed, size=1)[0]
    assert (copied["question"], copied["answer"]) == (fresh["question"], fresh["answer"])


def test_items_are_the_same_in_another_process() -> None:
    names = ["dice", "n_queens", "spell_backward", "knights_knaves", "rearc", "jugs", "acre", "graph_color"]
    program = (
        "import json, sys; from harness import load_task\n"
        "for name in json.loads(sys.argv[1]):\n"
        "    task = load_task('reasoning-gym:' + name)\n"
        "    print(json.dumps([[i.id, task.prompt(i), task.demonstration(i)] for i in task.items('train', 3)]))"
    )
    printed = []
    for seed in ("1", "2"):
        answer = subprocess.run(
            [sys.executable, "-c", program, json.dumps(names)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        printed.append([json.loads(line) for line in answer.stdout.splitlines()])
    assert printed[0] == printed[1] and len(printed[0]) == len(names)


def test_settings_reach_the_set() -> None:
    task = load_task("reasoning-gym:chain_sum", config={"min_terms": 2, "max_terms": 2}, sizes={"test": 7})
    questions = [item.data["question"] for item in task.items("test")]
    assert len(questions) == 7
    assert all(question.count(" + ") + question.count(" - ") == 1 for question in questions)
    assert task.items("test", 3) != load_task("reasoning-gym:chain_sum").items("test", 3)


def test_styles() -> None:
    for style in ("tags", "chat", "plain"):
        task = load_task("reasoning-gym:gcd", style=style)
        item = task.items("val", 1)[0]
        assert isinstance(task.prompt(item), list) == (style == "chat")
        assert task.grade(item, task.demonstration(item)).correct
        assert task.grade(item, f" {item.data['answer']}\n").correct == (style == "plain")


@pytest.mark.parametrize(
    ("name", "given", "match"),
    [
        ("chain_sums", {}, "Did you mean 'chain_sum'"),
        (
            "chain_sum",
            {"config": {"min_term": 2}},
            "setting of chain_sum .*'min_term'.*Did you mean 'min_terms'",
        ),
        ("chain_sum", {"config": {"seed": 2}}, "seed of chain_sum is decided"),
        ("chain_sum", {"config": {"min_terms": 9, "max_terms": 2}}, "none of chain_sum's"),
        ("chain_sum", {"config": {"min_terms": "many"}}, "none of chain_sum's"),
        ("chain_sum", {"sizes": {"tset": 9}}, "Did you mean 'test'"),
        ("chain_sum", {"sizes": {"test": 0}}, "not 1 or more"),
        ("chain_sum", {"style": "loud"}, "style='loud'"),
    ],
)
def test_mistakes_are_one_sentence(name: str, given: dict[str, Any], match: str) -> None:
    with pytest.raises(UserError, match=match) as error:
        load_task(f"reasoning-gym:{name}", **given)
    assert "\n" not in str(error.value)


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.bridges import packages

    monkeypatch.setitem(packages.VERSIONS, "reasoning-gym", "0.0.1")
    with pytest.raises(UserError, match=r"pip install reasoning-gym==0\.0\.1"):
        load_task("reasoning-gym:gcd")
    monkeypatch.setitem(packages.VERSIONS, "no-such-package", "1")
    with pytest.raises(UserError, match="not installed"):
        packages.require("no-such-package")


def test_making_items_prints_nothing() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        load_task("reasoning-gym:bf").items("val", 2)
    assert printed.getvalue() == ""
    assert dataclasses.is_dataclass(load_task("reasoning-gym:bf").items("val", 1)[0])
