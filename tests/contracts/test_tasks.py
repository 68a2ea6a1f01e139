"""What every registered task must keep: gold is right, hostile text is wrong and quick, splits and order are fixed."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import load_task
from harness.contracts import Item, Likelihood, LikelihoodTask, Prompt, Task, TextTask
from harness.errors import UserError
from harness.lab.measured import base_accuracy
from harness.registry import find_task, tasks
from tests.contracts.fixtures import PARAMETERS
from tests.quickest import quickest

Gold = Callable[[Item], str]
EVERY = sorted(tasks())
SPLITS = ("train", "val", "test")
N = 12
QUICK_SECONDS = 0.05

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
    "closed tags": "<answer>7318</answer>" * 20_000,
    "thoughts": "<think>" * 50_000,
    "long answer": "<answer>" + "1+" * 50_000 + "1</answer>",
    "long mark": "#" + "(" * 50_000 + "1" + ")" * 50_000,
    "surrogate": "\ud800" * 1000,
    "lines": "\r\n" * 100_000,
    "fullwidth answer": "#３＋４ <answer>３＋４</answer>",
    "lambda": "#(lambda: 0)() <answer>(lambda: 0)()</answer>",
}

PIECES = (
    *(
        "<answer>",
        "</answer>",
        "<think>",
        "</think>",
        "####",
        "#",
        "\\boxed{",
        "}",
        "\\frac{1}{2}",
        "answer is",
        "unknown",
    ),
    *(
        "\n",
        "\n\n",
        " ",
        "\t",
        "\r\n",
        "```python\n",
        "\n```",
        "Question:",
        "def transform(g):",
        "lambda",
        "__import__",
    ),
    *(
        "7",
        "12",
        "-3",
        "1/2",
        "3.5",
        "1,000",
        "1e9",
        "\u0663",
        "\uff13",
        "\u2212",
        "\xd7",
        "+",
        "*",
        "/",
        "(",
        ")",
        "=",
        "^",
        "**",
    ),
    *("_", "\x00", "\ud800", "\U0001f600", "$", "%", "the", "A", "1 2 3 4"),
)
"""What graders look for, and what they must not fall over."""


def _levels() -> list[tuple[str, str | None]]:
    """Every task at its defaults and at every level it names."""
    found: list[tuple[str, str | None]] = [(name, None) for name in EVERY]
    for name in EVERY:
        found += [(name, level) for level in find_task(name).levels]
    return found


def _load(name: str, level: str | None) -> Task:
    given = PARAMETERS.get(name, {})
    return load_task(name, **given) if level is None else load_task(name, **given, level=level)


@pytest.fixture(scope="module", params=_levels(), ids=lambda pair: "-".join(filter(None, pair)))
def task(request: pytest.FixtureRequest) -> Task:
    return _load(*request.param)


@pytest.fixture(scope="module")
def gold(task: Task) -> Gold:
    """The gold answer of an item, found once."""
    found: dict[str, str] = {}

    def of(item: Item) -> str:
        if item.id not in found:
            found[item.id] = task.demonstration(item)
        return found[item.id]

    return of


def text_of(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else " ".join(str(turn["content"]) for turn in prompt)


def test_gold_is_right(task: Task, gold: Gold) -> None:
    if "demonstrations" not in task.offers and not isinstance(task, LikelihoodTask):
        pytest.fail(f"{task.name} offers no demonstrations: say here how its gold answer is found")
    for split in SPLITS:
        for item in task.items(split, N):
            grade = task.grade(item, gold(item))
            assert grade.correct and grade.well_formed, (item, grade)
            assert grade.reward >= 0 and grade.reward > task.grade(item, "").reward, (item, grade)


def test_the_likeliest_continuation_decides(task: Task) -> None:
    if not isinstance(task, LikelihoodTask):
        return
    for item in task.items("val", N):  # type: ignore[attr-defined]
        count = len(task.continuations(item))
        verdicts = []
        for best in range(count):
            likelihoods = [Likelihood(-1.0 if place == best else -9.0, 4, True) for place in range(count)]
            verdicts.append(task.judge(item, likelihoods).correct)
        assert verdicts.count(True) == 1


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_text_is_wrong_and_quick(task: Task, name: str) -> None:
    item = task.items("val", 1)[0]
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        grade = task.grade(item, HOSTILE[name])
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < QUICK_SECONDS
    assert not grade.correct and grade.reward <= 0
    assert grade.reason and grade.reason != "ok"


@settings(
    max_examples=30,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.differing_executors],
)
@given(data=st.data())
def test_any_text_is_graded(task: Task, gold: Gold, data: st.DataObject) -> None:
    """Pieces of answers, prompts and of what graders look for, in any order: a verdict at once, and again."""
    item, *others = task.items("val", 3)
    pieces = [*PIECES, text_of(task.prompt(item)), *(gold(one) for one in (item, *others))]
    piece = st.one_of(st.sampled_from(pieces), st.text(max_size=8))
    text = "".join(data.draw(st.lists(piece, max_size=12)))
    grade, seconds = quickest(lambda: task.grade(item, text))
    assert seconds < 1 or "\\boxed" in text
    assert grade.reason and grade.correct == (grade.reason == "ok")
    assert grade.well_formed if grade.correct else grade.reward < 1
    assert math.isfinite(grade.reward) and all(map(math.isfinite, grade.measures.values()))
    assert task.grade(item, text) == grade


def test_every_mark_around_an_answer_is_graded(task: Task, gold: Gold) -> None:
    item = task.items("val", 1)[0]
    for piece in PIECES:
        for text in (piece, gold(item) + piece, piece + gold(item), gold(item) + piece + gold(item)):
            grade = task.grade(item, text)
            assert grade.reason and grade.correct == (grade.reason == "ok"), text


def test_a_grade_is_the_same_each_time(task: Task, gold: Gold) -> None:
    """Grading is pure: neither the order of the answers nor what was graded before counts."""
    items = task.items("val", 4)
    texts = [gold(items[0]), "", HOSTILE["tags"], text_of(task.prompt(items[1]))]
    first = [[task.grade(item, text) for text in texts] for item in items]
    backwards = [[task.grade(item, text) for text in reversed(texts)] for item in reversed(items)]
    assert first == [row[::-1] for row in backwards[::-1]]


def test_the_prompt_is_no_answer(task: Task) -> None:
    for item in task.items("val", N):
        assert not task.grade(item, text_of(task.prompt(item))).correct


def test_the_prompt_does_not_hold_the_answer(task: Task, gold: Gold) -> None:
    if task.offers & {"documents", "descriptions"}:
        return  # a document holds its answers, and what to copy stands in the input
    for item in task.items("val", N):
        answer = task.grade(item, gold(item)).parsed
        assert answer is not None and answer in gold(item)
        prompt = text_of(task.prompt(item))
        assert gold(item) not in prompt and not (len(answer) > 3 and answer in prompt)


def test_a_text_is_in_the_prompt_or_not(task: Task) -> None:
    """Where items come with texts, a generator reads the text and the model need not."""
    if not task.offers & {"documents", "descriptions"}:
        return
    assert isinstance(task, TextTask)
    for item in task.items("val", N):
        text = task.text(item)
        assert text.strip() and task.subject(item)
        assert text.strip() in text_of(task.prompt_with(item, text))
        assert text.strip() not in text_of(task.prompt_with(item, ""))


def test_a_gold_answer_fits_the_limit(task: Task, gold: Gold) -> None:
    """A word is one token or more: an answer of more words than tokens could not be written."""
    for item in task.items("val", N):
        assert len(gold(item).split()) <= task.max_new_tokens


def test_one_items_answer_is_not_anothers(task: Task, gold: Gold) -> None:
    items = task.items("val", N)
    answers = {item.id: task.grade(item, gold(item)).parsed for item in items}
    different = [(item, other) for item, other in pairwise(items) if answers[item.id] != answers[other.id]]
    assert len(different) > N / 2
    for item, other in different:
        assert not task.grade(item, gold(other)).correct


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


@pytest.mark.parametrize("split", SPLITS)
def test_fewer_items_are_the_first_of_more(task: Task, split: str) -> None:
    assert list(task.items(split, N))[: N // 2] == list(task.items(split, N // 2))
    assert list(task.items(split, 0)) == []


@pytest.mark.parametrize(("name", "level"), _levels())
def test_items_do_not_depend_on_what_was_asked_before(name: str, level: str | None) -> None:
    """Few first and then more, or another split first: the same items."""
    one, other = _load(name, level), _load(name, level)
    for n in (1, 5):
        one.items("test", n)
    one.items("train", 3)
    assert list(one.items("test", N)) == list(other.items("test", N))
    assert list(one.items("train", 6)) == list(other.items("train", 6))


def test_an_unknown_split_is_refused_in_one_sentence(task: Task) -> None:
    with pytest.raises(UserError, match="trian"):
        task.items("trian", 1)


def test_items_and_prompts_are_the_same_in_another_process() -> None:
    """Every task and level, under two other hash seeds."""
    program = (
        "import json, sys; from harness import load_task\n"
        "for name, given in json.loads(sys.argv[1]):\n"
        "    task = load_task(name, **given)\n"
        "    print(json.dumps([[i.id, task.prompt(i), task.demonstration(i)] for i in task.items('test', 4)]))"
    )
    pairs = _levels()
    given = [(name, PARAMETERS.get(name, {}) | ({"level": level} if level else {})) for name, level in pairs]
    here = []
    for pair in pairs:
        task = _load(*pair)
        here.append([[i.id, task.prompt(i), task.demonstration(i)] for i in task.items("test", 4)])
    for seed in ("1", "2"):
        answer = subprocess.run(
            [sys.executable, "-c", program, json.dumps(given)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert [json.loads(line) for line in answer.stdout.splitlines()] == here


@pytest.mark.parametrize("name", sorted(name for name, entry in tasks().items() if entry.lab is not None))
def test_the_lab_can_do_some_of_it_and_learn_the_rest(name: str) -> None:
    lab = tasks()[name].lab
    assert lab is not None
    assert 0.02 <= base_accuracy(lab[0], name, lab[1]) <= 0.60
