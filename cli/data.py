"""`beyondrl ingest`, `query` and `report`: run directories to rows, rows to answers, rows to a report."""

from __future__ import annotations

from collections.abc import Sequence
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

    say_damaged(bring_in(runs, database, rebuild=rebuild).damaged)
    console().print(f"{database} is up to date with {runs}.", highlight=False, soft_wrap=True)


def say_damaged(found: Sequence[str]) -> None:
    """What an ingest has left out, a line each."""
    for sentence in found:
        console().print(f"Left out: {sentence}", highlight=False, markup=False, soft_wrap=True)


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
    sweep: Annotated[
        list[str] | None,
        typer.Argument(help="Name of a sweep (default: the latest in --runs), or of several on different tasks."),
    ] = None,
    runs: Runs = RUNS,
    database: Database = DATABASE,
    out: Out = OUT,
    note: Annotated[
        list[str],
        typer.Option("--note", help="A remark for readers, at the top: what the figures cannot say; repeatable."),
    ] = [],  # noqa: B006
    tables: Annotated[
        bool, typer.Option("--tables", help="Write every table as CSV, Parquet and LaTeX too: OUT/SWEEP/tables.")
    ] = False,
    pareto: Annotated[
        list[str], typer.Option("--pareto", help="Draw a Pareto front over two meters: flops,accuracy; repeatable.")
    ] = [],  # noqa: B006
    name: Annotated[str | None, typer.Option("--name", help="Name of a report across tasks; default: league.")] = None,
    index: Annotated[bool, typer.Option("--index", help="Only write the index page over all reports in OUT.")] = False,
) -> None:
    """Write the report of a sweep from the database and print its leaderboard, or one across the tasks of several."""
    from cli.places import require_writable

    if index:
        from reports.index import write_index

        console().print(f"Index: {write_index(out)}", markup=False, highlight=False, soft_wrap=True)
        return
    names = sweep or [_latest(runs)]
    require_writable(out, "--out")
    if len(names) > 1 or name is not None:
        if pareto:
            raise UserError("A report across tasks has no --pareto: leave it out.")
        from reports.league import write_league

        across = write_league(database, names, _file_name(name or "league"), out, tables, note)
        say_where(across.html, out)
        return
    from reports.build import write_report
    from reports.leaderboard import leaderboard_text

    written = write_report(database, names[0], out, note, tables, pareto)
    terminal = console()
    board = leaderboard_text(written.data, written.comparison, terminal.width)
    terminal.print(board, markup=False, highlight=False, soft_wrap=True)
    say_where(written.html, out)


def say_where(page: Path, out: Path) -> None:
    """Where the report is, and the index where there are several."""
    from reports.index import find_reports, write_index

    console().print(f"Report: {page}", markup=False, highlight=False, soft_wrap=True)
    entries = find_reports(out)
    if len(entries) > 1:
        console().print(f"All reports: {write_index(out, entries)}", markup=False, highlight=False, soft_wrap=True)


def _file_name(name: str) -> str:
    """A name that is one file's, or UserError."""
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
        raise UserError(f"--name {name}: a report's name has letters, digits, dots and dashes, as 'league'.")
    return name


def _latest(runs: Path) -> str:
    from sweeps.directory import all_sweeps

    started = all_sweeps(runs)
    if not started:
        raise UserError(f"No sweep was started in {runs} yet (beyondrl sweep quickstart).")
    return max(started, key=lambda one: one.record.stat().st_mtime).path.name
