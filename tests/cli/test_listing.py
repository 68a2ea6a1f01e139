"""Listings: the same rows as a table and as JSON."""

from __future__ import annotations

import json
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
