"""The database: twice is once, rebuilt is the same, and what is not ours is refused in one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import pytest

from harness.errors import Damaged, UserError
from harness.record import all_runs
from reports.build import write_report
from reports.sweep_data import read_sweep_data
from results.database import connect, query
from results.ingest import ingest

TABLES = ("runs", "stages", "metrics", "curve", "samples", "environments", "sweeps", "arms", "trials", "finals")


def everything(database: Path) -> dict[str, list[object]]:
    with connect(database) as connection:
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall() for table in TABLES}


@pytest.fixture
def database(swept: Path, tmp_path: Path) -> Path:
    ingest(swept, tmp_path / "a.duckdb")
    return tmp_path / "a.duckdb"


def test_every_run_is_there_with_what_its_files_say(swept: Path, database: Path) -> None:
    directories = all_runs(swept)
    assert len(directories) == 13  # 2 methods x 2 trials + 3 arms x 3 seeds
    _, rows = query(database, "SELECT run_id, accuracy, flops, seed FROM runs")
    by_id = {row[0]: row[1:] for row in rows}
    for directory in directories:
        result, spec = directory.read_result(), directory.read_spec()
        assert by_id[spec.run_id] == (result.score.accuracy, result.meters.flops, spec.seed)
    _, ((answers, right),) = query(
        database, "SELECT count(*), sum(correct::INT) FROM samples s JOIN runs r USING (run_id) WHERE split = 'test'"
    )
    assert answers == 9 * 12 * 2
    scores = [d.read_result().score.accuracy for d in directories if d.read_spec().evaluation.split == "test"]
    assert right == pytest.approx(sum(scores) * 24)


def test_training_options_and_what_came_of_them(database: Path) -> None:
    _, rows = query(database, "SELECT DISTINCT method, training, micro_batch FROM runs LEFT JOIN stages USING (run_id)")
    assert set(rows) == {
        ("base", "{}", None), ("sft", '{"accumulation": 2}', 2), ("sft-es", "{}", 4), ("sft-es", "{}", None)
    }  # fmt: skip


def test_every_stage_is_a_row_with_its_cost_and_score(swept: Path, database: Path) -> None:
    _, rows = query(
        database,
        "SELECT run_id, stage, flops, accuracy, reward, items, split FROM stages",
    )
    by_stage = {row[:2]: row[2:] for row in rows}
    for directory in all_runs(swept):
        result = directory.read_result()
        for stage in result.stages:
            assert stage.score is not None and (len(result.stages) > 1 or stage.score == result.score)
            score = stage.score
            expected = (stage.meters.flops, score.accuracy, score.reward, score.items, score.split)
            assert by_stage.pop((result.run_id, stage.index)) == expected
    assert not by_stage


def test_the_views_answer_the_first_questions(database: Path) -> None:
    names, rows = query(database, "SELECT method, seeds, accuracy FROM leaderboard WHERE sweep = 'small'")
    assert names == ["method", "seeds", "accuracy"]
    assert {row[0]: row[1] for row in rows} == {"base": 3, "sft": 3, "sft-es": 3}
    assert [row[2] for row in rows] == sorted((row[2] for row in rows), reverse=True)
    _, cells = query(database, "SELECT count(*) FROM item_scores")
    assert cells == [(9 * 12,)]
    _, costs = query(database, "SELECT method, trials FROM tuning_cost ORDER BY method")
    assert costs == [("sft", 2), ("sft-es", 2)]
    assert query(database, "SELECT count(*) FROM pareto")[1][0][0] >= 1
    assert query(database, "SELECT sum(runs) FROM coverage")[1] == [(13,)]


def test_ingesting_twice_is_ingesting_once(swept: Path, database: Path) -> None:
    before = everything(database)
    summary = ingest(swept, database)
    assert (summary.new, summary.updated, summary.unchanged) == (0, 0, 13)
    assert everything(database) == before


def test_a_rebuilt_database_makes_the_same_report_to_the_byte(swept: Path, database: Path, tmp_path: Path) -> None:
    first = write_report(database, "small", tmp_path / "first")
    before = everything(database)
    ingest(swept, database, rebuild=True)
    assert everything(database) == before
    second = write_report(database, "small", tmp_path / "second")
    assert first.html.read_bytes() == second.html.read_bytes()
    assert first.markdown.read_bytes() == second.markdown.read_bytes()


def test_a_copy_of_a_run_is_named_and_a_moved_one_is_found_again(swept: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(swept, runs)
    database, one = tmp_path / "b.duckdb", all_runs(runs)[0].path
    for copy in (one.with_name(f"{one.name}-copy"), one.parent.with_name("another") / one.name):
        shutil.copytree(one, copy)
        with pytest.raises(UserError, match=r"move (one of them|the copy) away"):
            ingest(runs, database)
        shutil.rmtree(copy)
    ingest(runs, database)
    one.parent.rename(one.parent.with_name("moved"))
    summary = ingest(runs, database)
    assert summary.new == summary.removed == 0 and summary.updated > 0
    _, ((folder,),) = query(database, f"SELECT folder FROM runs WHERE run_id = '{one.name}'")
    assert folder.split("/")[1:] == ["moved", one.name]


def test_a_sweep_of_another_root_takes_the_place_of_one_that_is_gone(swept: Path, tmp_path: Path) -> None:
    """The same name in two roots: what was ingested last counts, and when it is gone the other one does again."""
    other, database = tmp_path / "other", tmp_path / "b.duckdb"
    shutil.copytree(swept, other)
    record = other / "sweeps" / "small" / "sweep.json"
    told = json.loads(record.read_text())
    record.write_text(json.dumps({**told, "arms": told["arms"][:1]}))
    arms = "SELECT count(*) FROM arms WHERE sweep = 'small'"
    for root, expected in ((swept, 3), (other, 1)):
        ingest(root, database)
        assert query(database, arms)[1] == [(expected,)]
    shutil.rmtree(record.parent)
    ingest(other, database)
    assert query(database, arms)[1] == [(0,)]
    ingest(swept, database)
    assert query(database, arms)[1] == [(3,)]


def test_what_is_damaged_is_named_and_all_else_is_there(swept: Path, tmp_path: Path) -> None:
    """A disk that was full, a copy that was cut off: one bad directory keeps no other from the database."""
    runs = tmp_path / "runs"
    shutil.copytree(swept, runs)
    directories = all_runs(runs)
    directories[0].spec.write_text("{")
    directories[1].result.write_text('{"run_id": 3}')
    answers = directories[2].samples.read_bytes()
    directories[2].samples.write_bytes(answers[: len(answers) // 2])
    directories[3].environment.write_text("")
    (runs / "sweeps" / "small" / "sweep.json").write_text("")
    summary = ingest(runs, tmp_path / "b.duckdb")
    assert (summary.new, len(summary.damaged)) == (len(directories) - 4, 5)
    for place, damaged in zip(("spec", "result", "samples", "environment"), directories, strict=False):
        assert any(str(getattr(damaged, place)) in one and "delete" in one for one in summary.damaged), place
    assert "sweep.json is damaged" in summary.damaged[-1]
    assert query(tmp_path / "b.duckdb", "SELECT count(*) FROM runs")[1] == [(len(directories) - 4,)]
    with pytest.raises(Damaged, match=r"result.json is damaged \(run_id: Input should be a valid string\)"):
        directories[1].read_result()


def test_a_failed_run_cost_what_it_had_spent_when_it_failed(swept: Path, tmp_path: Path) -> None:
    """Not what it had spent at the last point of its curve, which may be the first."""
    runs = tmp_path / "runs"
    shutil.copytree(swept, runs)
    directory = next(one for one in all_runs(runs) if one.read_spec().method.name == "sft")
    spent = directory.read_result().meters
    directory.result.unlink()
    failure = {"phase": "stage 0", "failure": "nan", "message": "nan", "traceback": None, "at": 0.0}
    directory.error.write_text(json.dumps(failure))
    events = [json.loads(line) for line in directory.events.read_text().splitlines()]
    begin = [one for one in events if one["kind"] != "curve"]
    curve = [one for one in events if one["kind"] == "curve"][:1]
    assert curve
    directory.events.write_text("".join(json.dumps(one) + "\n" for one in curve + begin))
    ingest(runs, tmp_path / "b.duckdb")
    _, ((flops, status),) = query(
        tmp_path / "b.duckdb", f"SELECT flops, status FROM runs WHERE run_id = '{directory.path.name}'"
    )
    assert status == "failed" and flops == pytest.approx(spent.flops, rel=0.3) and flops > 0


def test_trials_are_counted_once_and_their_runs_too(swept: Path, database: Path) -> None:
    """A trial that is scored on two seeds has two rows, and two trials with the same settings share a run."""
    before = read_sweep_data(database, "small")
    (sft,) = (one for one in before.methods if one.name == "sft")
    assert [trial["number"] for trial in sft.trials] == [0, 1]
    connection = duckdb.connect(str(database))
    first, second = (trial["run_id"] for trial in sft.trials)
    more = "INSERT INTO trials SELECT * REPLACE ({} AS run_id, {} AS number) FROM trials WHERE run_id = '{}'"
    connection.execute(more.format(f"'{second}'", 0, first))
    connection.execute(more.format(f"'{first}'", 2, first))
    connection.close()
    (again,) = (one for one in read_sweep_data(database, "small").methods if one.name == "sft")
    assert [trial["number"] for trial in again.trials] == [0, 1, 2]
    costs = [[sum(trial[key] for trial in one.trials) for key in ("flops", "device_seconds")] for one in (sft, again)]
    assert costs[0] == pytest.approx(costs[1])
    _, rows = query(database, "SELECT trials, flops FROM tuning_cost WHERE method = 'sft'")
    assert rows == [(3, pytest.approx(costs[0][0]))]


def test_a_final_run_without_a_directory_is_missing(swept: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(swept, runs)
    database = tmp_path / "b.duckdb"
    finals = [one for one in all_runs(runs) if one.read_spec().evaluation.split == "test"]
    for directory in [one for one in finals if one.read_spec().method.name == "sft"][:2]:
        shutil.rmtree(directory.path)
    ingest(runs, database)
    (sft,) = (one for one in read_sweep_data(database, "small").methods if one.name == "sft")
    assert (len(sft.runs), sft.planned_finals) == (1, 3)
    written = write_report(database, "small", tmp_path / "out")
    assert "2 of 3 final runs have not finished" in written.markdown.read_text()


def test_a_changed_run_is_taken_up_again(swept: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(swept, runs)
    database = tmp_path / "b.duckdb"
    ingest(runs, database)
    directory = all_runs(runs)[0]
    result = json.loads(directory.result.read_text())
    result["score"]["accuracy"] = 0.123
    directory.result.write_text(json.dumps(result))
    summary = ingest(runs, database)
    assert (summary.updated, summary.unchanged) == (1, 12)
    assert query(database, "SELECT count(*) FROM runs WHERE accuracy = 0.123")[1] == [(1,)]


def test_a_removed_run_takes_its_rows_along_and_no_others(swept: Path, tmp_path: Path) -> None:
    """Those of the run and of its sweep, once no folder has them any more."""
    runs, other, database = tmp_path / "runs", tmp_path / "other", tmp_path / "r.duckdb"
    shutil.copytree(swept, runs)
    ingest(runs, database)
    before = everything(database)
    gone = next(d for d in all_runs(runs) if d.read_spec().method.name == "sft")
    run_id = gone.read_spec().run_id
    shutil.copytree(gone.path, other / gone.path.relative_to(runs))
    shutil.rmtree(gone.path)
    ingest(other, database)
    assert ingest(runs, database).removed == 0  # the other folder has it still
    shutil.rmtree(other / gone.path.relative_to(runs))
    assert ingest(other, database).removed == 1
    after = everything(database)
    for table, rows in before.items():
        kept = [row for row in rows if table in ("trials", "finals", "meta") or run_id not in row]
        assert sorted(map(str, after[table])) == sorted(map(str, kept)), table
    shutil.rmtree(runs / "sweeps/small")
    ingest(runs, database)
    assert (
        query(database, "SELECT count(*) FROM sweeps")[1] == query(database, "SELECT count(*) FROM arms")[1] == [(0,)]
    )
    ingest(tmp_path / "nowhere", database)
    assert query(database, "SELECT count(*) FROM runs")[1] == [(12,)]


def test_a_second_folder_of_runs_adds_to_the_first(swept: Path, tmp_path: Path) -> None:
    second, database = tmp_path / "second", tmp_path / "two.duckdb"
    shutil.copytree(swept, second)
    record = second / "sweeps/small/sweep.json"
    record.write_text(
        record.read_text().replace('"name":"small"', '"name":"again"').replace('"name": "small"', '"name": "again"')
    )
    record.parent.rename(second / "sweeps/again")
    ingest(swept, database)
    ingest(second, database)
    assert query(database, "SELECT sweep FROM sweeps ORDER BY ALL")[1] == [("again",), ("small",)]
    assert query(database, "SELECT count(*) FROM runs")[1] == [(13,)]
    shutil.rmtree(second / "sweeps/again")
    ingest(second, database)
    assert query(database, "SELECT sweep FROM sweeps")[1] == [("small",)]


def test_half_written_runs_are_rows_and_no_errors(swept: Path, tmp_path: Path) -> None:
    """Whatever file a killed run stopped at, ingest takes what is there."""
    runs = tmp_path / "runs"
    shutil.copytree(swept, runs)
    directory = next(d for d in all_runs(runs) if d.read_spec().method.name == "sft")
    directory.result.unlink()
    directory.samples.unlink()
    text = directory.events.read_text()
    directory.events.write_text(text[: len(text) - 7])  # a line cut in its middle
    ingest(runs, tmp_path / "c.duckdb")
    run_id = directory.read_spec().run_id
    _, ((status, accuracy),) = query(
        tmp_path / "c.duckdb", f"SELECT status, accuracy FROM runs WHERE run_id = '{run_id}'"
    )
    assert (status, accuracy) == ("stale", None)


def test_missing_foreign_and_newer_databases_are_refused(swept: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="beyondrl ingest"):
        query(tmp_path / "none.duckdb", "SELECT 1")
    foreign = tmp_path / "foreign.duckdb"
    duckdb.connect(str(foreign)).execute("CREATE TABLE theirs (x INTEGER)").close()
    with pytest.raises(UserError, match="something else"):
        ingest(swept, foreign, rebuild=True)
    assert duckdb.connect(str(foreign)).execute("SELECT count(*) FROM theirs").fetchall() == [(0,)]
    text = tmp_path / "text.duckdb"
    text.write_text("no database at all, but long enough to be looked at" * 100)
    with pytest.raises(UserError, match="cannot be opened"):
        query(text, "SELECT 1")
    newer = tmp_path / "newer.duckdb"
    ingest(swept, newer)
    duckdb.connect(str(newer)).execute("UPDATE meta SET schema_version = 99").close()
    with pytest.raises(UserError, match="99"):
        ingest(swept, newer)


def test_a_mistake_in_sql_is_one_sentence_and_writing_is_refused(database: Path) -> None:
    with pytest.raises(UserError, match="accurcy"):
        query(database, "SELECT accurcy FROM runs")
    with pytest.raises(UserError):
        query(database, "DROP TABLE runs")
    assert query(database, "SELECT count(*) FROM runs")[1] == [(13,)]
