"""Human preference in a report: counted by hand, of the sweep's own runs only, no byte where nobody has voted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.models import load_model
from harness.preference_record import Asked, Candidate, Choice, Preference, append_preference
from harness.record import all_runs
from reports.build import write_report
from reports.preference import won_share
from results.database import query
from results.ingest import ingest


@pytest.fixture
def runs(swept: Path, tmp_path: Path) -> Path:
    shutil.copytree(swept, tmp_path / "runs")
    return tmp_path / "runs"


def final_runs(runs: Path, method: str) -> list[str]:
    specs = [one.read_spec() for one in all_runs(runs)]
    return [spec.run_id for spec in specs if spec.method.name == method and spec.evaluation.split == "test"]


def cast(runs: Path, number: int, a: str | None, b: str | None, choice: Choice, file: str = "s1") -> None:
    def answer(run: str | None) -> Candidate:
        return Candidate(name=run or "lab", run_id=run, completion="1 | <b>", tokens=3, truncated=False)

    vote = Preference(
        vote=f"{number:032x}", server=file, at=1.8e9 + number, page="p", engine="vllm 0", choice=choice,
        base=load_model("lab").reference(), prompt="3,5=8>", task=None, item_id=None, a=answer(a), b=answer(b),
        sampling=Asked(temperature=0.0, top_p=1.0, max_new_tokens=8, stop=None, seed=number),
    )  # fmt: skip
    append_preference(runs / "preferences" / f"{file}.jsonl", vote)


def vote(runs: Path) -> None:
    sft, es = final_runs(runs, "sft"), final_runs(runs, "sft-es")
    for number in range(8):  # sft-es wins 7 of 8, whether it stands first or second and of whichever seed
        left = number % 2 == 0
        pair = (es[number % 3], sft[0]) if left else (sft[number % 3], es[0])
        wins: Choice = "a" if left else "b"
        loses: Choice = "b" if left else "a"
        cast(runs, number, *pair, loses if number == 4 else wins, f"s{number % 2}")
    cast(runs, 8, sft[0], es[0], "tie")
    cast(runs, 9, sft[0], None, "a")
    cast(runs, 10, None, sft[1], "neither")
    cast(runs, 11, sft[0], sft[1], "a")  # two seeds of one method say nothing of methods
    cast(runs, 12, "f" * 16, sft[1], "a")  # a run that is not here


def test_votes_are_counted_by_methods(runs: Path, tmp_path: Path) -> None:
    vote(runs)
    ingest(runs, tmp_path / "a.duckdb")
    report = write_report(tmp_path / "a.duckdb", "small", tmp_path, tables=True)
    section = report.markdown.read_text().split("## Human preference\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line[:1] == "|"][2:]
    assert rows == [
        ["base", "sft", "2", "0", "1", "0", "1", "0.0 [0.0, 79.3]", "1.000"],
        ["sft", "sft-es", "9", "1", "7", "1", "0", "12.5 [2.2, 47.1]", "0.141"],
    ]
    assert 'id="human-preference"' in report.html.read_text()
    assert (tmp_path / "small" / "tables" / "preference.csv").exists()


def test_the_share_is_wilsons_and_the_test_exact() -> None:
    share = won_share(1, 7)
    assert share is not None and share.p == pytest.approx(2 * 9 / 256)
    z, n, mean = 1.959964, 8, 1 / 8
    half = z / (1 + z * z / n) * ((mean * (1 - mean) / n + z * z / (4 * n * n)) ** 0.5)
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    assert (share.low, share.high) == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert won_share(0, 0) is None


def test_a_report_without_votes_is_the_same_to_the_byte(runs: Path, tmp_path: Path) -> None:
    ingest(runs, tmp_path / "a.duckdb")
    before = write_report(tmp_path / "a.duckdb", "small", tmp_path / "before")
    cast(runs, 0, "e" * 16, "f" * 16, "a")  # of other runs
    ingest(runs, tmp_path / "a.duckdb")
    assert query(tmp_path / "a.duckdb", "SELECT count(*) FROM preferences")[1] == [(1,)]
    after = write_report(tmp_path / "a.duckdb", "small", tmp_path / "after")
    assert before.html.read_bytes() == after.html.read_bytes() and b"uman preference" not in after.html.read_bytes()
    assert before.markdown.read_bytes() == after.markdown.read_bytes()


def test_votes_come_again_from_their_files(runs: Path, tmp_path: Path) -> None:
    vote(runs)
    database = tmp_path / "a.duckdb"
    ingest(runs, database)
    before = query(database, "SELECT * FROM preferences")[1]
    assert len(before) == 13
    first = write_report(database, "small", tmp_path / "first")
    shutil.copy(runs / "preferences" / "s1.jsonl", runs / "preferences" / "s1-copied.jsonl")
    ingest(runs, database)
    assert sorted(query(database, "SELECT * FROM preferences")[1]) == sorted(before)  # a vote counts once
    (runs / "preferences" / "s1-copied.jsonl").unlink()
    ingest(runs, database, rebuild=True)
    assert query(database, "SELECT * FROM preferences")[1] == before
    second = write_report(database, "small", tmp_path / "second")
    assert first.html.read_bytes() == second.html.read_bytes()


def test_a_database_from_before_votes_has_none(runs: Path, tmp_path: Path) -> None:
    import duckdb

    ingest(runs, tmp_path / "a.duckdb")
    with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
        connection.execute("DROP TABLE preferences")
    assert "uman preference" not in write_report(tmp_path / "a.duckdb", "small", tmp_path).html.read_text()
