"""Write the comparison report of a sweep: one self-contained HTML file, and the same as Markdown with its figures.

Beside it stand the answers side by side and the records of the runs, and on request every table as CSV, Parquet and
LaTeX. Everything comes from the database; the same database gives the same bytes. Files appear whole or not at all.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.atomic import write_text
from reports import contents
from reports.claim_rows import claims_table
from reports.comparison import Comparison, compare
from reports.figures import FEW, draw_figures
from reports.headline import headline, title
from reports.importance import importance
from reports.pages import write_page
from reports.panel import Figure
from reports.pareto import parse_meters
from reports.preference import preference
from reports.records import read_records
from reports.retention import retention
from reports.samples import CHARACTERS, read_samples
from reports.search import search
from reports.stages import stages
from reports.sweep_data import SweepData, read_sweep_data
from reports.table_files import raw_rows, write_rows, write_tables
from reports.tables import Table
from reports.verdict import verdict


@dataclass(frozen=True)
class Report:
    """Where the report lies."""

    html: Path
    markdown: Path


@dataclass(frozen=True)
class SweepReport(Report):
    """The report of one sweep, with what it was made from."""

    data: SweepData
    comparison: Comparison


def write_report(
    database: Path, sweep: str, out: Path, notes: Sequence[str] = (), tables: bool = False, fronts: Sequence[str] = ()
) -> SweepReport:
    """Write `<out>/<sweep>.html`, `<out>/<sweep>.md`, and `<out>/<sweep>/` with figures, answers and records.

    `notes` are remarks of whoever publishes it, shown as that; `fronts` are pairs of meters (`flops,accuracy`) to draw
    a Pareto front over; `tables` writes `<out>/<sweep>/tables/` too. UserError where database or sweep are missing.
    """
    meters = [parse_meters(text) for text in fronts]
    data = read_sweep_data(database, sweep)
    comparison = compare(data)
    given = [*(("--note", note) for note in notes), *(("--pareto", text) for text in fronts)]
    options = [part for pair in given for part in pair]
    parts, figures = _parts(data, comparison, notes, meters, shlex.join(["beyondrl", "report", sweep, *options]))
    samples, records = read_samples(database, sweep), read_records(database, sweep)
    parts |= {"samples": bool(samples), "records": bool(records)}
    report, folder = SweepReport(out / f"{sweep}.html", out / f"{sweep}.md", data, comparison), out / sweep
    folder.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        write_text(folder / f"{figure.key}.svg", figure.svg)
    if samples:
        write_page(
            folder / "samples.html", "samples.html.j2", {**parts, "questions": samples, "characters": CHARACTERS}
        )
    if records:
        write_page(folder / "runs.html", "runs.html.j2", {**parts, "records": records})
    if tables:
        found = {key.replace("_", "-"): part for key, part in parts.items() if isinstance(part, Table)}
        write_tables(found, folder / "tables")
        for key, rows in raw_rows(data).items():
            write_rows(key, rows, folder / "tables")
    write_page(report.markdown, "report.md.j2", parts)
    write_page(report.html, "report.html.j2", parts)
    return report


def _parts(
    data: SweepData, comparison: Comparison, notes: Sequence[str], fronts: Sequence[tuple[str, str]], command: str
) -> tuple[dict[str, Any], list[Figure]]:
    figures = draw_figures(data, comparison, fronts)
    shown = {
        "accuracy": [f for f in figures if f.key == "accuracy"],
        "learning": [f for f in figures if f.key.startswith("learning")],
        "retention": [f for f in figures if f.key == "retention"],
        "cost": [f for f in figures if f.key.startswith(("cost", "tuning", "pareto"))],
        "slices": [f for f in figures if f.key == "slices"],
    }
    parts = {
        "name": data.sweep["sweep"],
        "title": title(data),
        "headline": headline(data),
        "notes": notes,
        "finished": data.sweep["finished"],
        "verdict": verdict(comparison, data.sweep["final_evaluation"]["split"]),
        "split": data.sweep["final_evaluation"]["split"],
        "leaderboard": contents.leaderboard(comparison),
        "pairwise": contents.pairwise(comparison),
        "many": len(data.methods) > FEW,
        "claims": claims_table(data),
        "quality": contents.answers_quality(comparison),
        "measures": contents.measures(comparison),
        "retention": retention(comparison),
        "preference": preference(data),
        "stages": stages(data),
        "search": search(data),
        "tuning": contents.tuning(data),
        "importance": importance(data),
        "lost": contents.lost(data),
        "environments": contents.environments(data),
        "run_list": contents.run_list(data),
        "figures": shown,
        "answers": data.answers,
        "commands": [*data.sweep["commands"], command],
        "source": data.sweep["source"],
        "model": data.sweep["model"],
        "revision": data.sweep["revision"],
        "identity": data.sweep["identity"],
    }
    return parts, figures
