"""`beyondrl ingest`, `query` and `report`: run directories to rows, rows to answers, rows to a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import DATABASE, OUT, RUNS, Database, Json, Out, Runs
from cli.output import console, show
from harness.errors import UserError


def ingest(
    runs: Runs = RUNS,
    database: Database = DATABASE,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Start from an empty database.")] = False,
) -> None:
    """Bring every run directory into the database."""
    from cli.places import require_writable

    if not runs.is_dir():
        raise UserError(f"{runs} is no directory, so there are no runs to ingest (--runs DIR, or run a sweep first).")
    require_writable(database.parent, "--database")
    from results.ingest import ingest as bring_in

    bring_in(runs, database, rebuild=rebuild)
    console().print(f"{database} is up to date with {runs}.", highlight=False, soft_wrap=True)


def query(
    sql: Annotated[str, typer.Argument(help="One SQL statement.")],
    database: Database = DATABASE,
    json: Json = False,
) -> None:
    """Ask the database in SQL."""
    from results.database import query as ask

    columns, rows = ask(database, sql)
    show([dict(zip(columns, row, strict=True)) for row in rows], json, columns, empty="no rows")


def report(
    sweep: Annotated[str | None, typer.Argument(help="Name of a sweep; default: the latest in --runs.")] = None,
    runs: Runs = RUNS,
    database: Database = DATABASE,
    out: Out = OUT,
    note: Annotated[
        str | None, typer.Option("--note", help="A remark for readers, shown at the top: what the figures cannot say.")
    ] = None,
) -> None:
    """Write the report of a sweep from the database, and print its leaderboard."""
    from cli.places import require_writable

    name = sweep if sweep is not None else _latest(runs)
    require_writable(out, "--out")
    from reports.build import write_report
    from reports.leaderboard import leaderboard_text

    written = write_report(database, name, out, note)
    terminal = console()
    terminal.print(leaderboard_text(database, name, terminal.width), markup=False, highlight=False, soft_wrap=True)
    terminal.print(f"Report: {written.html}", markup=False, highlight=False, soft_wrap=True)


def _latest(runs: Path) -> str:
    from sweeps.directory import all_sweeps

    started = all_sweeps(runs)
    if not started:
        raise UserError(f"No sweep was started in {runs} yet (beyondrl sweep quickstart).")
    return max(started, key=lambda one: one.record.stat().st_mtime).path.name
