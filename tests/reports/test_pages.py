"""What stands beside a report: answers side by side, records, tables, fronts, the page across tasks, and the index."""

from __future__ import annotations

import html
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import pytest

from harness.errors import UserError
from reports.build import Report, write_report
from reports.index import find_reports, write_index
from reports.league import write_league
from reports.samples import CHARACTERS, read_samples
from reports.sweep_data import read_sweep_data
from results.database import query
from results.ingest import ingest


@pytest.fixture(scope="module")
def database(swept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small sweep, and the same runs once more as if on another task."""
    path = tmp_path_factory.mktemp("database") / "small.duckdb"
    ingest(swept, path)
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO sweeps SELECT * REPLACE ('other' AS sweep, 'facts' AS task) FROM sweeps")
        for table in ("arms", "trials", "finals"):
            connection.execute(f"INSERT INTO {table} SELECT * REPLACE ('other' AS sweep) FROM {table}")
    return path


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def report(database: Path, out: Path) -> Report:
    write_report(database, "other", out)
    return write_report(database, "small", out, tables=True, fronts=["flops,accuracy", "steps,truncated"])


@pytest.fixture(scope="module")
def league(report: Report, database: Path, out: Path) -> Report:
    return write_league(database, ["small", "other"], "league", out, tables=True)


class Page(HTMLParser):
    """The links, identities and alternative texts of a page, and whether its tags close."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.identities: list[str] = []
        self.language: str | None = None
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.language = self.language or values.get("lang")
        if values.get("href"):
            self.links.append(values["href"] or "")
        if values.get("id"):
            self.identities.append(values["id"] or "")
        if tag == "img":
            assert values["alt"] and (values["src"] or "").startswith("data:")
        if tag not in ("img", "meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_page_is_whole_and_every_link_leads_somewhere(league: Report, out: Path) -> None:
    write_index(out)
    pages = sorted(out.rglob("*.html"))
    assert {path.name for path in pages} >= {"small.html", "league.html", "samples.html", "runs.html", "index.html"}
    for path in pages:
        page = Page(path)
        assert page.open == [] and page.language == "en" and len(set(page.identities)) == len(page.identities)
        for link in page.links:
            file, _, place = link.partition("#")
            target = (path.parent / file) if file else path
            assert target.exists(), link
            assert not place or place in Page(target).identities, link


def test_answers_stand_side_by_side_with_their_grades(report: Report, database: Path, out: Path) -> None:
    questions = read_samples(database, "small")
    assert len(questions) == 12 and [one.method for one in questions[0].answers] == ["base", "sft", "sft-es"]
    _, rows = query(database, "SELECT count(*) FILTER (s.correct) FROM finals f JOIN samples s USING (run_id) WHERE "
                    "sweep = 'small' AND position = 0 AND sample = 0")  # fmt: skip
    assert sum(one.right for one in questions) == rows[0][0]
    text = (out / "small/samples.html").read_text()
    assert text.count('<article class="card') == 36 and f"cut after {CHARACTERS} characters" in text


def test_a_long_answer_is_cut_and_says_so(database: Path, tmp_path: Path, swept: Path) -> None:
    ingest(swept, tmp_path / "long.duckdb")
    with duckdb.connect(str(tmp_path / "long.duckdb")) as connection:
        connection.execute("UPDATE samples SET completion = repeat('<', 700), truncated = true")
    answer = read_samples(tmp_path / "long.duckdb", "small", 1)[0].answers[0]
    assert answer.completion.endswith("(200 more characters)") and "cut off at the token limit" in answer.verdict


def test_chat_questions_are_read_as_texts(database: Path, tmp_path: Path, swept: Path) -> None:
    """In the report and in its page of answers; what only looks like JSON stays."""
    ingest(swept, tmp_path / "chat.duckdb")
    asked = '[{"role": "system", "content": "be brief"}, {"role": "user", "content": "say blue"}]'
    with duckdb.connect(str(tmp_path / "chat.duckdb")) as connection:
        connection.execute("UPDATE samples SET prompt = ? WHERE item_index = 0", [asked])
        connection.execute("UPDATE samples SET prompt = '[1, 2' WHERE item_index = 1")
    assert {row["prompt"] for row in read_sweep_data(tmp_path / "chat.duckdb", "small").answers} == {
        "system: be brief\nuser: say blue"
    }
    first, second = read_samples(tmp_path / "chat.duckdb", "small", 2)
    assert first.prompt == "system: be brief\nuser: say blue" and second.prompt == "[1, 2"


def test_every_final_run_has_its_record_and_a_link_to_it(report: Report, database: Path, out: Path) -> None:
    _, rows = query(
        database, "SELECT run_id, weights_digest FROM finals JOIN runs USING (run_id) WHERE sweep = 'small'"
    )
    text = (out / "small/runs.html").read_text()
    assert len(rows) == 9
    for run_id, digest in rows:
        assert f'<h2 id="{run_id}">' in text and digest in text
        assert f'href="small/runs.html#{run_id}"' in report.html.read_text()


def test_fronts_are_drawn_and_stand_in_the_command(report: Report, out: Path) -> None:
    assert (out / "small/pareto-flops-accuracy.svg").exists() and (out / "small/pareto-steps-truncated.svg").exists()
    assert "beyondrl report small --pareto flops,accuracy --pareto steps,truncated" in report.markdown.read_text()


def test_tables_are_files_too(report: Report, out: Path) -> None:
    there = {path.name for path in (out / "small/tables").iterdir()}
    assert {"leaderboard.csv", "leaderboard.parquet", "leaderboard.tex", "final-runs.parquet", "trials.csv"} <= there
    first = (out / "small/tables/leaderboard.csv").read_text().splitlines()[0]
    assert first.startswith("rank,method,accuracy,accuracy low,accuracy high,vs base,vs base low")


def test_all_of_it_is_the_same_bytes_again(league: Report, database: Path, out: Path, tmp_path: Path) -> None:
    write_report(database, "small", tmp_path, tables=True, fronts=["flops,accuracy", "steps,truncated"])
    write_report(database, "other", tmp_path)
    write_league(database, ["small", "other"], "league", tmp_path, tables=True)
    write_index(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 40
    for path in files:
        assert path.read_bytes() == (out / path.relative_to(tmp_path)).read_bytes(), path


def test_the_page_across_tasks_holds_every_shared_method(league: Report) -> None:
    text = league.markdown.read_text()
    for section in ("Gain over base", "Performance profiles", "Probability of improvement", "Every task"):
        assert f"## {section}" in text and f">{section}</a></h2>" in league.html.read_text()
    assert re.search(r"\| sft \| [+-]\d+\.\d \[", text) and "countdown (level L1" in text and "facts (level L1" in text


def test_one_task_twice_is_refused(database: Path, tmp_path: Path) -> None:
    with duckdb.connect(str(database)) as connection:
        connection.execute("INSERT INTO sweeps SELECT * REPLACE ('twice' AS sweep) FROM sweeps WHERE sweep = 'small'")
        try:
            connection.execute("INSERT INTO arms SELECT * REPLACE ('twice' AS sweep) FROM arms WHERE sweep = 'small'")
        finally:
            connection.execute("CHECKPOINT")
    with pytest.raises(UserError, match="one sweep a task"):
        write_league(database, ["small", "twice"], "league", tmp_path)
    with pytest.raises(UserError, match="two sweeps or more"):
        write_league(database, ["small"], "league", tmp_path)


def test_the_index_has_each_reports_answer(league: Report, out: Path) -> None:
    entries = {one.name: one for one in find_reports(out)}
    assert list(entries) == ["league", "other", "small"]
    assert entries["small"].href == "small.html" and entries["small"].markdown == "small.md"
    assert entries["small"].verdict and entries["small"].verdict in (out / "small.md").read_text()
    with pytest.raises(UserError, match="no report"):
        write_index(out / "small")


def test_the_page_across_tasks_judges_claims_and_shows_remarks(database: Path, tmp_path: Path) -> None:
    """Here an arm is renamed, so that a claim of the ledger is about it."""
    shutil.copy2(database, tmp_path / "claims.duckdb")
    with duckdb.connect(str(tmp_path / "claims.duckdb")) as connection:
        connection.execute("UPDATE runs SET method = 'sft-dpo' WHERE method = 'sft-es'")
    notes = ["First <i>remark</i>.", "Second remark."]
    report = write_league(tmp_path / "claims.duckdb", ["small", "other"], "league", tmp_path, notes=notes)
    text, page = report.markdown.read_text(), report.html.read_text()
    section = text.partition("## Claims of the literature")[2].partition("\n## ")[0]
    (row,) = [line for line in section.splitlines() if line.startswith("| SFT and then DPO ")]
    assert row.count("not comparable sft-es against sft: the budget is steps, not flops") == 2
    assert ">Claims of the literature</a></h2>" in page and "<i>remark" not in page
    assert "</b> Second remark.</p>" in page and "--note 'Second remark.'" in html.unescape(page)
