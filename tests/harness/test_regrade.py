"""Regrading: stored answers, a new version of the grader, new rows beside the old ones and no model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from harness import registry
from harness.contracts import Grade, Item
from harness.errors import UserError
from harness.record import RunDirectory
from harness.regrade import regrade
from results.database import query
from results.ingest import ingest
from tasks.countdown.task import Countdown
from tests.conftest import make_spec, run_to_end


class Harsh(Countdown):
    """A grader that finds nothing right."""

    def grade(self, item: Item, completion: str) -> Grade:
        first = super().grade(item, completion)
        return Grade(False, 0.0, first.well_formed, "harsh", first.parsed, {"was": float(first.correct)})


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return run_to_end(make_spec("base"), tmp_path)


def install(monkeypatch: pytest.MonkeyPatch, build: Any, version: int) -> None:
    entry = replace(registry.find_task("countdown"), build=build, version=version)
    monkeypatch.setitem(registry._TASKS, "countdown", entry)


def test_the_same_version_changes_and_writes_nothing(run: RunDirectory) -> None:
    found = regrade(run)
    assert found.changed == 0 and found.before == found.after == run.read_result().score.accuracy > 0
    assert not run.regrades.exists()


def test_a_new_version_gives_new_rows_beside_the_old(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database = tmp_path / "results.duckdb"
    ingest(tmp_path, database)
    accuracy = run.read_result().score.accuracy
    install(monkeypatch, Harsh, 2)
    assert main(["regrade", "--runs", str(tmp_path), "--json"]) == 0
    assert '"version": "1 -> 2"' in capsys.readouterr().out
    assert ingest(tmp_path, database).updated == 1
    _, rows = query(database, "SELECT first_accuracy, version, accuracy, answers FROM regraded")
    assert rows == [(accuracy, 2, 0.0, run.read_result().score.items)]
    _, kept = query(database, "SELECT avg(correct::DOUBLE) FROM samples")
    assert kept == [(accuracy,)]
    assert ingest(tmp_path, database).unchanged == 1


def test_other_verdicts_under_the_same_version_are_refused(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Harsh, 1)
    with pytest.raises(UserError, match="without a new version"):
        regrade(run)


def test_questions_that_are_gone_are_named(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(Countdown):
        def items(self, split: str, n: int | None = None) -> list[Item]:
            return [replace(item, id=item.id[::-1]) for item in super().items(split, n)]

    install(monkeypatch, Other, 2)
    with pytest.raises(UserError, match="no longer has"):
        regrade(run)


def test_no_model_is_loaded(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} was loaded")

    monkeypatch.setattr("harness.models.load_model", refuse)
    regrade(run)


def test_an_unknown_run_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["regrade", "0123456789abcdef", "--runs", str(tmp_path)]) == 2
    assert "0123456789abcdef" in capsys.readouterr().err


def test_a_run_that_cannot_be_graded_again_does_not_keep_the_others_from_it(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = run_to_end(make_spec("base", task="filler"), tmp_path)
    capsys.readouterr()
    assert main(["regrade", "--runs", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert run.read_spec().run_id in said.out
    reason = "'filler' is scored by likelihoods, it has no answers to grade again."
    assert said.err == f"Run {other.read_spec().run_id}: {reason}\n"
