"""Listings: the same rows as a table and as JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cli.settings import settings
from tests.cli.conftest import Say


@pytest.mark.parametrize(
    ("kind", "key", "name"),
    [
        ("methods", "method", "toy-rate"),
        ("tasks", "task", "toy-task"),
        ("models", "model", "lab"),
        ("sweeps", "sweep", "quickstart"),
        ("objectives", "objective", "sft"),
        ("parameterisations", "parameterisation", "lora"),
        ("optimisers", "optimiser", "adamw"),
        ("toy-rate", "parameter", "rank"),
        ("toy-task", "parameter", "level"),
    ],
)
def test_every_kind(say: Say, kind: str, key: str, name: str) -> None:
    answer = say("list", kind, "--json")
    assert answer.code == 0 and name in [row[key] for row in json.loads(answer.out)]
    assert name in say("list", kind).out


def test_pairs_say_why_not(say: Say) -> None:
    rows = json.loads(say("list", "pairs", "--json").out)
    pairs = {(row["method"], row["task"]): row for row in rows}
    assert pairs["toy-rate", "toy-task"]["legal"]
    assert "takes fitness" in pairs["toy-mismatch", "toy-task"]["why not"]


def test_pairs_are_a_line_a_method_on_a_terminal(say: Say) -> None:
    out = say("list", "pairs").out
    assert [line.split()[0] for line in out.splitlines()].count("toy-mismatch") == 1
    assert "takes fitness" in " ".join(out.split())


@pytest.mark.parametrize("kind", ["tasks", "methods", "models", "pairs", "parameterisations", "toy-rate"])
def test_a_narrow_terminal_gets_columns_that_can_be_read(say: Say, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is longer than the terminal, and the last column has room for a sentence."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in say("list", kind).out.splitlines()]
    table = lines[lines.index("") + 1 :] if "" in lines else lines
    assert max(map(len, lines)) <= 80
    last = table[0].rindex(table[0].split()[-1])
    assert len(table[0]) - last >= 25 or max(len(line.rstrip()) for line in table) < 80


def test_an_entry_is_described_before_its_parameters(say: Say) -> None:
    first, *rest = say("list", "sudoku").out.splitlines()
    assert first == "sudoku (version 1): Fill the blanks of a Sudoku with one solution."
    assert rest[0] == "levels: S0, S1, S2, S3, S4, S5, S6" and rest[1].startswith("lab: model lab has ")
    assert json.loads(say("list", "sudoku", "--json").out)[0]["parameter"] == "level"


def test_kinds(say: Say) -> None:
    assert "beyondrl list parameterisations" in say("list").out


def test_doctor_says_what_works(say: Say) -> None:
    rows = {row["what"]: row for row in json.loads(say("doctor", "--json").out)}
    assert rows["torch"]["state"] == "works" and rows["runs directory"]["state"] == "works"
    assert rows["lab model"]["state"] == "works" and "revision" in rows["lab model"]["detail"]
    assert all(row["command"] for row in rows.values() if row["state"] == "broken")
    assert not Path("runs").exists()


def test_doctor_sees_a_place_that_cannot_be(say: Say) -> None:
    Path("file").write_text("")
    answer = say("doctor", "--runs", "file/runs", "--json")
    rows = {row["what"]: row for row in json.loads(answer.out)}
    assert rows["runs directory"]["state"] == "broken" and answer.code == 1


def test_settings_are_read_as_in_sweep_files() -> None:
    given = ["rate=1e-3", "flag=true", "name=a b", "list=[1, 2]", "text=a=b", "map={a: 1}", "pattern=answer: (.+)"]
    assert settings(given, "-p") == {
        "map": {"a": 1},
        "pattern": "answer: (.+)",
        "rate": 0.001,
        "flag": True,
        "name": "a b",
        "list": [1, 2],
        "text": "a=b",
    }
