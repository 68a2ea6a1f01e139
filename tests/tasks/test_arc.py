"""ARC: only exact grids are right, a program can do nothing but compute, and no disguise crosses a split."""

from __future__ import annotations

import json
import os
import random
import socket
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import load_task
from harness.contracts import Item
from harness.errors import UserError
from tasks.arc.grid import agreement, as_grid, partial_score, read_grids, show
from tasks.arc.lines import FAMILIES
from tasks.arc.program import run_program
from tasks.arc.puzzle import disguised, read_puzzles
from tasks.arc.style import find_program

DATA = Path(__file__).parent / "data" / "arc"
GRID = ((1, 0, 2), (0, 3, 0))
HEAD = "def transform(grid):\n"


def program(*lines: str) -> str:
    return HEAD + "".join(f"    {line}\n" for line in lines)


def fenced(code: str) -> str:
    return f"Here it is.\n```python\n{code}\n```\n"


GRIDS = st.integers(1, 30).flatmap(
    lambda width: st.lists(st.lists(st.integers(0, 9), min_size=width, max_size=width), min_size=1, max_size=30)
)


@given(GRIDS, GRIDS)
def test_what_is_shown_is_read(one: list[list[int]], other: list[list[int]]) -> None:
    first, second = as_grid(one), as_grid(other)
    assert read_grids(f"{show(first)}\n\n{show(second)}", 2) == ((first, second), "ok")


@pytest.mark.parametrize(
    ("text", "count", "reason"),
    [
        ("1 0 2\n0 3 0", 1, "ok"),
        ("102\n030", 1, "ok"),
        ("1 0 2\r\n0 3 0\r\n", 1, "ok"),
        ("1 0 2 0 3 0", 1, "ok"),
        ("1 0 2\n0 3", 1, "ragged"),
        ("1 0 2\n\n0 3 0", 1, "wrong_count"),
        ("1 0 2", 2, "wrong_count"),
        ("[[1, 0, 2], [0, 3, 0]]", 1, "bad_character"),
        ("1 0 ２\n0 3 0", 1, "bad_character"),
        ("1 0 -2", 1, "bad_character"),
        ("1 " * 31, 1, "too_large"),
        ("1\n" * 31, 1, "too_large"),
        ("1" * 100_000, 1, "too_large"),
        ("\n" * 100_000, 1, "too_large"),
        ("", 1, "wrong_count"),
    ],
)
def test_reading_grids(text: str, count: int, reason: str) -> None:
    grids, why = read_grids(text, count)
    assert why == reason and (grids is None) == (reason != "ok")


def test_the_shape_is_the_answers_own() -> None:
    """Six loose numbers are one row, whatever the gold answer's shape."""
    assert read_grids("1 0 2 0 3 0", 1)[0] == (((1, 0, 2, 0, 3, 0),),)


@given(GRIDS, GRIDS, GRIDS)
def test_a_partial_score_pays_nothing_for_no_insight(
    answer: list[list[int]], gold: list[list[int]], question: list[list[int]]
) -> None:
    a, g, q = as_grid(answer), as_grid(gold), as_grid(question)
    assert 0 <= partial_score(a, g, q) <= 1
    assert partial_score(g, g, q) == 1
    assert partial_score(q, g, q) == float(q == g)
    for colour in range(10):
        constant = tuple(tuple(colour for _ in row) for row in g)
        assert partial_score(constant, g, q) == float(constant == g)


def test_agreement_counts_cells() -> None:
    assert agreement(GRID, ((1, 0, 2), (0, 3, 1))) == 5 / 6
    assert agreement(GRID, ((1, 0), (0, 3))) == 0


def puzzle(**given: Any) -> tuple[Any, Item]:
    task = load_task("arc", data=str(DATA), **given)
    return task, next(item for item in task.items("test") if len(item.data["tests"]) == 2)


def test_every_grid_in_question_must_be_right() -> None:
    task, item = puzzle()
    gold = task.demonstration(item)
    assert task.grade(item, gold).correct
    first, _, second = gold.removeprefix("<answer>\n").removesuffix("\n</answer>").partition("\n\n")
    for text in (f"{first}\n\n{first}", f"{second}\n\n{first}", first, f"{first}\n\n{second}\n\n{second}"):
        grade = task.grade(item, f"<answer>{text}</answer>")
        assert not grade.correct and grade.reward == 0
    assert task.grade(item, f"{gold}{gold}").reason == "several_answers"
    partial, _ = puzzle(reward="partial")
    grade = partial.grade(item, f"<answer>{first}\n\n{first}</answer>")
    assert not grade.correct and 0 < grade.reward < 1


def test_a_program_is_judged_by_what_it_makes() -> None:
    task, item = puzzle(style="program")
    pairs = [*item.data["pairs"], *item.data["tests"]]
    table = {str(as_lists(given)): as_lists(made) for given, made in pairs}
    grade = task.grade(item, fenced(f"TABLE = {table}\n" + program("return TABLE[str(grid)]")))
    assert grade.correct and grade.reward == 1 and grade.measures == {"pairs": 1.0}
    shown = dict(list(table.items())[:-1])
    grade = task.grade(item, fenced(f"TABLE = {shown}\n" + program("return TABLE[str(grid)]")))
    assert not grade.correct and grade.reason == "raised: KeyError" and grade.measures == {"pairs": 1.0}
    grade = task.grade(item, fenced(program("return grid")))
    assert not grade.correct and grade.reason in ("wrong", "wrong_shape") and grade.measures == {"pairs": 0.0}
    assert "demonstrations" not in task.offers
    assert "`transform(grid: list[list[int]]) -> list[list[int]]`" in task.prompt(item)[0]["content"]


def as_lists(grid: Any) -> list[list[int]]:
    return [list(row) for row in grid]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("def transform(grid): return grid", "no_program"),
        ("```python\ndef transform(grid): return grid", "unfinished_program"),
        (fenced("x = 1\n" * 10_000), "too_long"),
    ],
)
def test_without_a_program_nothing_runs(text: str, reason: str) -> None:
    assert find_program(text) == (None, reason)


def test_the_last_program_counts() -> None:
    assert find_program(fenced("a = 1") + fenced("b = 2")) == ("b = 2", "ok")


ALLOWED = {
    "plain": program("return [row[::-1] for row in grid]"),
    "modules": "import math, re, collections, itertools\n" + program("return [row[::-1] for row in grid]"),
    "numpy": "import numpy as np\n" + program("return np.array(grid)[:, ::-1]"),
    "floats": "import numpy as np\n" + program("return np.array(grid, float)[:, ::-1]"),
    "prints": program("print('x' * 10000)", "return [row[::-1] for row in grid]"),
    "changes its input": program("for row in grid: row.reverse()", "return grid"),
}


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_what_a_program_may_do(name: str) -> None:
    outcomes = run_program(ALLOWED[name], [GRID, GRID], 2)
    assert [outcome.grid for outcome in outcomes] == [((2, 0, 1), (0, 3, 0))] * 2


FORBIDDEN = {
    "reads": program("return [[len(open('/etc/passwd').read()) % 10]]"),
    "lists": program("import os", "return [[len(os.listdir('/')) % 10]]"),
    "forks": program("import os", "os.fork()", "return grid"),
    "starts": program("import os", "return [[os.system('true')]] if os.system('true') == 0 else grid[9]"),
    "signals": program("import os", "os.kill(os.getppid(), 9)", "return grid"),
    "threads": program("import _thread", "_thread.start_new_thread(print, ())", "return grid"),
    "imports": program("import socket", "return grid"),
    "raises": program("return 1 / 0"),
    "exits": program("import sys", "sys.exit(0)"),
    "ends": program("import os", "os._exit(0)"),
    "recurses": program("return transform(grid)"),
    "fills memory": program("return [[0] * 10**10]"),
    "no function": "x = 1",
    "no python": "def transform(grid:",
    "null byte": program("return '\0'"),
    "no grid": program("return 7"),
    "ragged": program("return [[1], [1, 2]]"),
    "colour 10": program("return [[10]]"),
    "halves": program("return [[cell + 0.5 for cell in row[::-1]] for row in grid]"),
    "text": program("return [''.join(map(str, row[::-1])) for row in grid]"),
    "too large": program("return [[1] * 31]"),
    "forged": "import os\nos.write(1, b'[' * 100000)\n" + program("return grid"),
}


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_what_a_program_may_not_do(name: str) -> None:
    """Each ends in a reason, and soon."""
    started = time.monotonic()
    outcomes = run_program(FORBIDDEN[name], [GRID, GRID], 2)
    assert [outcome.grid for outcome in outcomes] == [None, None]
    assert all(outcome.reason != "ok" for outcome in outcomes)
    assert time.monotonic() - started < 5


def test_a_program_that_does_not_end_is_stopped() -> None:
    started = time.monotonic()
    assert [one.reason for one in run_program("while True: pass", [GRID], 1)] == ["timeout"]
    assert [one.reason for one in run_program(program("import os", "while True: os.write(1, b'x')"), [GRID], 1)] != [
        "ok"
    ]
    assert time.monotonic() - started < 10


def test_a_program_writes_no_file(tmp_path: Path) -> None:
    target = tmp_path / "written"
    for code in (f"open({str(target)!r}, 'w')", f"import os; os.mkdir({str(target)!r})"):
        outcome = run_program(program(code, "return grid"), [GRID], 2)[0]
        assert outcome.reason == "raised: PermissionError" and not target.exists()


def test_a_program_reaches_no_network_even_through_c() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        code = program(
            "import ctypes",
            "libc = ctypes.CDLL(None, use_errno=True)",
            "made = [libc.socket(2, 1, 0), libc.open(b'/etc/passwd', 0), libc.fork(), libc.creat(b'/tmp/x', 438)]",
            "return [[1 if number == -1 else 2 for number in made]]",
        )
        assert run_program(code, [GRID], 2)[0].grid == ((1, 1, 1, 1),)
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_program_sees_nothing_of_ours() -> None:
    os.environ["A_SECRET"] = "7"
    try:
        code = program("import os", "return [[1 if 'A_SECRET' in os.environ else 0]]")
        assert run_program(code, [GRID], 2)[0].grid == ((0,),)
    finally:
        del os.environ["A_SECRET"]


def test_no_disguise_crosses_a_split() -> None:
    plain, more = load_task("arc", data=str(DATA)), load_task("arc", data=str(DATA), augment=4)
    names = {split: {item.data["name"] for item in more.items(split)} for split in ("train", "val", "test")}
    assert not any(names[one] & names[other] for one, other in pairwise(["train", "val", "test", "train"]))
    assert more.items("val") == plain.items("val") and more.items("test") == plain.items("test")
    assert 4 * len(plain.items("train")) < len(more.items("train")) <= 5 * len(plain.items("train"))
    assert {item.split for item in more.items("train")} == {"train"}
    assert all(more.grade(item, more.demonstration(item)).correct for item in more.items("train"))


def test_a_disguise_keeps_the_rule() -> None:
    """The same change of all grids of a puzzle: cells stay as many, background stays background."""
    for number, original in enumerate(read_puzzles(DATA)["training"]):
        changed = disguised(original, random.Random(number))
        for one, other in zip([*original.pairs, *original.tests], [*changed.pairs, *changed.tests], strict=True):
            for before, after in zip(one, other, strict=True):
                assert sorted((len(before), len(before[0]))) == sorted((len(after), len(after[0])))
                assert sum(row.count(0) for row in before) == sum(row.count(0) for row in after)


def test_small_keeps_small_grids() -> None:
    small, full = (load_task("arc", data=str(DATA), level=level) for level in ("small", "full"))
    assert 0 < len(small.items("test")) < len(full.items("test"))


def write_puzzle(folder: Path, part: str, content: str | bytes) -> None:
    for name in ("training", "evaluation"):
        (folder / name).mkdir(exist_ok=True)
        file = folder / name / "0a.json"
        pairs = [{"input": [[1, len(name)]], "output": [[2]]}]
        file.write_text(json.dumps({"train": pairs, "test": pairs}).replace("10", "9"))
    data = content if isinstance(content, bytes) else content.encode()
    (folder / part / "bad.json").write_bytes(data)


PAIR = '[{"input": [[1]], "output": [[2]]}]'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{\n1", r"bad.json, line 2: not JSON"),
        (b"\xff", r"bad.json, line 1: not UTF-8 \(byte 0\)"),
        ("[]", r"bad.json: a list where"),
        ("{}", r'bad.json: no list of pairs under "train"'),
        ('{"train": ' + PAIR + "}", r'bad.json: no list of pairs under "test"'),
        ('{"train": [{"input": [[1]]}], "test": ' + PAIR + "}", r'bad.json, train\[0\]: no "output"'),
        ('{"train": [{"input": [[1], [1, 2]], "output": [[1]]}]}', r'train\[0\], "input": rows of different lengths'),
        ('{"train": [{"input": [[1]], "output": [[12]]}]}', r'train\[0\], "output": a cell that is no colour'),
        ('{"train": [{"input": [[true]], "output": [[1]]}]}', r"a cell that is no colour"),
        ('{"train": [{"input": [], "output": [[1]]}]}', r"not a list of rows"),
        ('{"train": [{"input": [' + ",".join(["[1]"] * 31) + '], "output": [[1]]}]}', r"31 rows by 1 columns"),
    ],
)
def test_bad_data_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    write_puzzle(tmp_path, "evaluation", content)
    with pytest.raises(UserError, match=message):
        load_task("arc", data=str(tmp_path)).items("train", 1)


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="-t data=DIR"):
        load_task("arc").items("test", 1)
    with pytest.raises(UserError, match=r"has no training/\*\.json"):
        load_task("arc", data=str(tmp_path)).items("test", 1)


def test_the_same_puzzle_twice_is_named(tmp_path: Path) -> None:
    write_puzzle(tmp_path, "evaluation", "{}")
    original = (tmp_path / "training" / "0a.json").read_text()
    (tmp_path / "evaluation" / "bad.json").write_text(original)
    with pytest.raises(UserError, match=r"bad\.json is the same puzzle as .*training/0a\.json"):
        load_task("arc", data=str(tmp_path)).items("test", 1)


@pytest.mark.parametrize("level", ["L0", "L3", "unseen"])
def test_every_generated_gold_is_right(level: str) -> None:
    task = load_task("arc-1d", level=level)
    for split in ("train", "test"):
        for item in task.items(split, 2000):
            grade = task.grade(item, task.demonstration(item))
            assert grade.correct and grade.reward == 1


def test_no_pair_of_rows_is_in_two_splits() -> None:
    task = load_task("arc-1d", level="L1")
    seen: dict[str, str] = {}
    for split in ("train", "val", "test"):
        for item in task.items(split, 400):
            for given_row, made in (*item.data["pairs"], item.data["test"]):
                names = {0: 0}
                key = str([[names.setdefault(cell, len(names)) for cell in row] for row in (given_row, made)])
                assert seen.setdefault(key, split) == split


def test_unseen_families_are_unseen() -> None:
    task = load_task("arc-1d", level="unseen")
    families = {split: {item.data["family"] for item in task.items(split, 300)} for split in ("train", "val", "test")}
    assert len(families["train"]) == 11 and families["val"] == families["test"]
    assert not families["train"] & families["test"]


def rows(family: str) -> list[tuple[list[int], list[int]]]:
    """Pairs of rows of one puzzle."""
    rng = random.Random(family)
    rule = FAMILIES[family](rng)
    drawn = [rule(rng, 14) for _ in range(60)]
    return [pair for pair in drawn if pair]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_rule_changes_the_row_and_is_the_same_throughout_a_puzzle(family: str) -> None:
    made = rows(family)
    assert len(made) >= 20 and all(len(before) == 14 and before != after for before, after in made)
    known: dict[str, list[int]] = {}
    for before, after in made:
        assert known.setdefault(str(before), after) == after
        assert 1 <= len(after) <= 14 and all(0 <= cell <= 9 for cell in after)


def test_rules_do_what_they_say() -> None:
    """Each by another way of saying it."""
    for before, after in rows("mirror"):
        assert after == list(reversed(before))
    for before, after in rows("gather"):
        assert [c for c in before if c] == [c for c in after if c] and sorted(after, key=lambda c: c == 0) == after
    distances = {after.index(max(after)) - before.index(max(before)) for before, after in rows("shift")}
    assert len(distances) == 1 and distances <= {1, 2, 3}
    for before, after in rows("fill"):
        inside = [place for place, cell in enumerate(before) if cell]
        assert len(inside) == 2 and all(after[place] for place in range(inside[0], inside[1] + 1))
    for before, after in rows("recolour"):
        assert len(set(after) - {0}) == 1 and [bool(c) for c in before] == [bool(c) for c in after]
    for before, after in rows("count"):
        starts = sum(cell != 0 and cell != left for left, cell in pairwise([0, *before]))
        assert len(after) == starts
    for before, after in rows("squeeze"):
        assert after == [cell for left, cell in pairwise([-1, *before]) if cell != left]
    for before, after in rows("swap"):
        one, other = sorted(set(before) - {0})
        assert after == [{one: other, other: one}.get(cell, 0) for cell in before]
    for before, after in rows("longest"):
        (colour,) = set(after) - {0}
        assert all(before.count(other) < before.count(colour) for other in set(before) - {0, colour})
    for before, after in rows("clean"):
        assert after == [cell if cell and before.count(cell) > 1 else 0 for cell in before]
    for before, after in rows("in_order"):
        colours = [cell for left, cell in pairwise([0, *after]) if cell and cell != left]
        counts = [after.count(colour) for colour in colours]
        assert counts == sorted(counts) and sorted(before) == sorted(after)
