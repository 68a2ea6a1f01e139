"""Write the comparison report of a sweep: one self-contained HTML file, and the same as Markdown with its figures.

Everything comes from the database; the same database gives the same bytes. Files appear whole or not at all.
"""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.atomic import write_text
from reports import contents
from reports.claim_rows import claims_table
from reports.comparison import compare
from reports.figures import FEW, draw_figures
from reports.headline import headline, title
from reports.panel import Figure
from reports.retention import retention
from reports.search import search
from reports.stages import stages
from reports.sweep_data import SweepData, read_sweep_data
from reports.verdict import verdict

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Report:
    """Where the report lies."""

    html: Path
    markdown: Path


def write_report(database: Path, sweep: str, out: Path, note: str | None = None) -> Report:
    """Write `<out>/<sweep>.html`, `<out>/<sweep>.md` and `<out>/<sweep>/*.svg`.

    `note` is a remark of whoever publishes it, shown as that. Raises UserError where database or sweep are missing.
    """
    data = read_sweep_data(database, sweep)
    parts, figures = _parts(data, note)
    report = Report(out / f"{sweep}.html", out / f"{sweep}.md")
    (out / sweep).mkdir(parents=True, exist_ok=True)
    for figure in figures:
        write_text(out / sweep / f"{figure.key}.svg", figure.svg)
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["data_uri"] = _data_uri
    write_text(report.markdown, environment.get_template("report.md.j2").render(parts))
    environment.autoescape = True
    environment.filters["table"] = lambda table: Markup(table.html())
    write_text(report.html, environment.get_template("report.html.j2").render(parts))
    return report


def _parts(data: SweepData, note: str | None) -> tuple[dict[str, Any], list[Figure]]:
    comparison = compare(data)
    figures = draw_figures(data, comparison)
    shown = {
        "accuracy": [f for f in figures if f.key == "accuracy"],
        "learning": [f for f in figures if f.key.startswith("learning")],
        "retention": [f for f in figures if f.key == "retention"],
        "cost": [f for f in figures if f.key.startswith(("cost", "tuning"))],
    }
    parts = {
        "name": data.sweep["sweep"],
        "title": title(data),
        "headline": headline(data),
        "note": note,
        "finished": data.sweep["finished"],
        "verdict": verdict(comparison),
        "leaderboard": contents.leaderboard(comparison),
        "pairwise": contents.pairwise(comparison),
        "many": len(data.methods) > FEW,
        "claims": claims_table(data),
        "quality": contents.answers_quality(comparison),
        "measures": contents.measures(comparison),
        "retention": retention(comparison),
        "stages": stages(data),
        "search": search(data),
        "tuning": contents.tuning(data),
        "lost": contents.lost(data),
        "environments": contents.environments(data),
        "run_list": contents.run_list(data),
        "figures": shown,
        "answers": data.answers,
        "commands": [*data.sweep["commands"], _command(data.sweep["sweep"], note)],
        "source": data.sweep["source"],
        "model": data.sweep["model"],
        "revision": data.sweep["revision"],
        "identity": data.sweep["identity"],
    }
    return parts, figures


def _command(sweep: str, note: str | None) -> str:
    return shlex.join(["beyondrl", "report", sweep, *(("--note", note) if note else ())])


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
