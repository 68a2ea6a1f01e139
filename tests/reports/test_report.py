"""The report of a real sweep: what it must hold, that it stands alone, and that its figures are the database's."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import pytest

from harness.errors import UserError
from reports.build import SweepReport, write_report
from reports.leaderboard import leaderboard_text
from reports.tables import Table
from results.database import query
from results.ingest import ingest


@pytest.fixture(scope="module")
def database(swept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "small.duckdb"
    ingest(swept, path)
    return path


@pytest.fixture(scope="module")
def report(database: Path, tmp_path_factory: pytest.TempPathFactory) -> SweepReport:
    return write_report(database, "small", tmp_path_factory.mktemp("out"))


SECTIONS = ("Leaderboard", "Every pair", "Learning curves", "Score against cost", "Answers", "Tuning",
            "Failures and refusals", "Environment", "Make it again")  # fmt: skip


def test_both_forms_hold_every_section_and_every_method(report: SweepReport) -> None:
    for text, heading in ((report.html.read_text(), ">{}</a></h2>"), (report.markdown.read_text(), "## {}")):
        for section in SECTIONS:
            assert heading.format(section) in text
        for word in ("base", "sft", "sft-es", "beyondrl sweep small.yaml", "truncated", "not parsed"):
            assert word in text


def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere(report: SweepReport) -> None:
    text = report.html.read_text()

    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.pictures = 0

        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            values = dict(attributes)
            assert (values.get("href") or "#").startswith(("#", "small/"))
            if tag == "img":
                self.pictures += 1
                assert (values["src"] or "").startswith("data:image/svg+xml;base64,") and values["alt"]
            if tag not in ("img", "meta", "link", "br"):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    reader = Reader()
    reader.feed(text)
    assert reader.open == [] and reader.pictures >= 6
    assert "http" not in re.sub(r"http://www.w3.org/\S+", "", text.split(">Make it again")[0])


def test_searches_without_gradients_have_their_table(report: SweepReport) -> None:
    """Only methods that search are in it: the second stage of sft-es, not sft."""
    text = report.markdown.read_text()
    section = text.split("## Searches without gradients")[1].split("## Tuning")[0]
    (row,) = [line for line in section.splitlines() if line.startswith("| sft-es ")]
    cells = dict(
        zip([c.strip() for c in section.splitlines()[2].split("|")], [c.strip() for c in row.split("|")], strict=True)
    )
    assert cells["iterations"] == "1" and cells["right"].endswith("%") and "| sft |" not in section
    assert float(cells["reward spread"]) >= 0 and "Searches without gradients" in report.html.read_text()


def test_markdown_pictures_are_there(report: SweepReport) -> None:
    named = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", report.markdown.read_text())
    assert len(named) >= 6
    for name in named:
        assert (report.markdown.parent / name).read_text().lstrip().startswith("<?xml")


def test_the_accuracies_are_the_databases(report: SweepReport, database: Path) -> None:
    _, rows = query(database, "SELECT method, accuracy FROM leaderboard")
    text = report.markdown.read_text()
    for name, accuracy in rows:
        assert re.search(rf"\| {name} \| {100 * accuracy:.1f} \[", text)


def test_the_terminals_leaderboard_fits_where_it_is_shown(report: SweepReport) -> None:
    for width in (50, 80, 140):
        lines = leaderboard_text(report.data, report.comparison, width).splitlines()
        table = [line for line in lines if line.lstrip().startswith(("rank", "1", "2", "3"))]
        assert len(table) == 4 and all(len(line) <= width for line in table)


def test_an_unknown_sweep_names_the_nearest(database: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'small'"):
        write_report(database, "smal", tmp_path)


def test_the_training_options_stand_with_the_settings(report: SweepReport) -> None:
    section = report.markdown.read_text().partition("## Tuning")[2].partition("## ")[0]
    (row,) = (line for line in section.splitlines() if line.startswith("| sft | "))
    assert row.rstrip(" |").endswith("accumulation 2")


def test_every_stage_of_a_pipeline_has_its_line(report: SweepReport, database: Path) -> None:
    text = report.markdown.read_text()
    assert ">Stages</a></h2>" in report.html.read_text()
    section = text.partition("## Stages")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| sft-es |")]
    assert [line.split(" | ")[1:3] for line in lines] == [
        ["1", "sft x full x adamw, 50% of the budget"], ["2", "task-reward x full x evolution"]
    ]  # fmt: skip
    _, rows = query(database, "SELECT avg(s.accuracy), avg(s.reward) FROM stages s JOIN finals USING (run_id) "
                    "WHERE method = 'sft-es' GROUP BY stage ORDER BY stage")  # fmt: skip
    assert [line.split(" | ")[7:9] for line in lines] == [[f"{100 * a:.1f}", f"{r:.3f}"] for a, r in rows]
    assert "after the stage on 4 val questions" in text


def test_a_cell_cannot_break_a_table() -> None:
    table = Table("t", ["method", "x"], [["a|b\nc", "<script>"]])
    assert "a\\|b c" in table.markdown() and "&lt;script&gt;" in table.html()


def test_a_note_is_shown_and_is_in_the_command_that_makes_it_again(database: Path, tmp_path: Path) -> None:
    report = write_report(database, "small", tmp_path, ["It's <b>only</b> a try.", "And another."])
    for text in (report.html.read_text(), report.markdown.read_text()):
        assert "a try." in text and "beyondrl report small --note" in text
    assert "<b>only" not in report.html.read_text()


def test_claims_of_the_literature_are_shown_where_a_sweep_has_both_arms(
    swept: Path, report: SweepReport, tmp_path: Path
) -> None:
    """Here an arm is renamed; its budget is in steps, so the claim about operations cannot be decided by it."""
    assert "Claims of the literature" not in report.markdown.read_text() + report.html.read_text()
    ingest(swept, tmp_path / "other.duckdb")
    with duckdb.connect(str(tmp_path / "other.duckdb")) as connection:
        connection.execute("UPDATE runs SET method = 'sft-dpo' WHERE method = 'sft-es'")
    other = write_report(tmp_path / "other.duckdb", "small", tmp_path)
    section = other.markdown.read_text().partition("## Claims of the literature")[2].partition("\n## ")[0]
    (row,) = [line for line in section.splitlines() if line.startswith("| SFT and then DPO ")]
    assert "not comparable" in row and "sft-es against sft: the budget is steps, not flops" in row
    assert ">Claims of the literature</a></h2>" in other.html.read_text()
