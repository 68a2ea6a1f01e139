"""`beyondrl explain` and `suggest`: what a method is, and what the database says was best, or that it says nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.explanation import explain
from harness.registry import methods
from reports.suggestion import Question, answer, suggest
from results.ingest import ingest
from tests.cli.conftest import Say


def test_every_method_can_be_explained() -> None:
    for name, entry in methods().items():
        found = explain(name)
        assert found.text and (found.trains_on or found.refused) and found.version == entry.version
        assert {part.stage for part in found.parts} == set(range(1, len(found.stages) + 1))


def test_parts_needs_and_relatives_are_the_registrys() -> None:
    found = explain("lora-es")
    assert [part.name for part in found.parts] == ["task-reward", "lora", "evolution"] and found.needs == ("verifier",)
    assert "filler" in found.refused and "countdown" in found.trains_on
    near = {one.name: one for one in found.relatives}
    assert near["es"].only_there == ("full",) and near["es"].only_here == ("lora",) and near["es"].shared == 0.5


def test_it_is_said_in_words_and_as_json(say: Say) -> None:
    said = say("explain", "lora-es").out
    for word in ("arXiv 2509.24372", "stage 1: task-reward x lora x evolution", "0.01 to 0.3 (log)", "near: es ("):
        assert word in said
    (row,) = json.loads(say("explain", "lora+grpo", "--json").out)
    assert row["stages"] == ["grpo x lora x adamw"] and "rank" in {one["parameter"] for one in row["parameters"]}
    assert "Did you mean 'grpo'?" in say("explain", "grop").err


@pytest.mark.parametrize(
    ("method", "where"),
    [
        ("lora-es", "countdown --model lab"),
        ("t2l", "instructions --model lab-reader"),
        ("d2l", "facts --model lab-reader"),
    ],
)
def test_what_to_try_is_a_model_and_a_task_that_go_together(say: Say, method: str, where: str) -> None:
    assert f"try it: beyondrl run --method {method} --task {where}" in say("explain", method).out


@pytest.fixture(scope="module")
def database(swept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "small.duckdb"
    ingest(swept, path)
    return path


def test_a_suggestion_names_the_sweep_that_it_rests_on(database: Path) -> None:
    found = suggest(database, Question("countdown", "steps", 3, "L1"))
    assert [(one.sweep, one.likeness) for one in found] == [("small", "same task and level")]
    assert "sweep small (same task and level, 3 seeds)" in answer(Question("countdown", "steps", 3), found)[0]
    assert suggest(database, Question("countdown", "steps", 2, "L2"))[0].likeness == "another level"
    assert suggest(database, Question("sudoku", "steps", 2, alike=("countdown",)))[0].likeness == "a like task"


@pytest.mark.parametrize(
    "question",
    [
        Question("countdown", "steps", 4.1),
        Question("countdown", "flops", 2),
        Question("sudoku", "steps", 2),
        Question("countdown", "steps", 2, model="other"),
    ],
)
def test_without_evidence_nothing_is_suggested(database: Path, question: Question) -> None:
    assert suggest(database, question) == []
    assert answer(question, [])[0].endswith("so nothing is suggested.")


def test_the_command_says_what_there_is_instead(say: Say, database: Path) -> None:
    given = ("suggest", "--task", "countdown", "--database", str(database), "--budget")
    assert "there is small: countdown L1, 2 steps a run" in say(*given, "flops=1e12").out
    (row,) = json.loads(say(*given, "steps=2", "--json").out)
    assert row["evidence"] and {one["sweep"] for one in row["evidence"]} == {"small"}
    assert "Did you mean 'flops'?" in say(*given, "flop=1").err
    assert "no positive number" in say(*given, "flops=many").err
    assert "There is no results database" in say("suggest", "--task", "countdown", "--budget", "steps=2").err
