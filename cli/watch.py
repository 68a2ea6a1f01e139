"""`beyondrl watch [SWEEP]`: where a sweep stands, read from its files; needs nothing from the process that runs it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import RUNS, Json, Runs
from cli.output import console, show
from harness.errors import UserError

if TYPE_CHECKING:
    from sweeps.directory import SweepDirectory

_SECONDS = 1.0


def watch(
    sweep: Annotated[str | None, typer.Argument(help="Name of a started sweep; default: the latest.")] = None,
    runs: Runs = RUNS,
    once: Annotated[bool, typer.Option("--once", help="Print once and leave.")] = False,
    json: Json = False,
) -> None:
    """Show how far a sweep is, again and again until it is finished or nobody works on it."""
    directory = _find(runs, sweep)
    terminal = console()
    if json or once or not terminal.is_terminal:
        show(_rows(directory, runs), json)
        if not json:
            terminal.print(_state(directory), highlight=False, soft_wrap=True)
        return
    from rich.live import Live

    with Live(console=terminal, auto_refresh=False) as live:
        while True:
            live.update(_table(directory, runs), refresh=True)
            if _is_over(directory):
                break
            time.sleep(_SECONDS)
    terminal.print(_state(directory), highlight=False, soft_wrap=True)


def _find(runs: Path, name: str | None) -> SweepDirectory:
    from sweeps.directory import SweepDirectory, all_sweeps

    if name is not None:
        return SweepDirectory.find(runs, name)
    started = all_sweeps(runs)
    if not started:
        raise UserError(f"No sweep was started in {runs} yet (beyondrl sweep quickstart).")
    return max(started, key=lambda one: one.record.stat().st_mtime)


def _rows(directory: SweepDirectory, runs: Path) -> list[dict[str, Any]]:
    record = directory.read()
    assert record is not None
    statuses = {path.name: path for path in runs.glob(f"{record.task.name}/*/*")}
    rows = []
    for arm in record.arms:
        ended = {trial.number for trial in arm.trials if trial.state != "running"}
        running = [trial.run_id for trial in arm.trials if trial.state == "running"]
        finals = [_status(statuses.get(run_id)) for run_id in arm.final_run_ids]
        values = [trial.value for trial in arm.trials if trial.value is not None]
        rows.append(
            {
                "method": arm.method,
                "tuned": len(ended),
                "best val": round(max(values), 4) if values else None,
                "final": f"{finals.count('done')}/{len(record.final_seeds)}",
                "running": finals.count("running") + [_status(statuses.get(one)) for one in running].count("running"),
                "failed": finals.count("failed") + sum(trial.state == "failed" for trial in arm.trials),
            }
        )
    return rows


def _status(path: Path | None) -> str:
    from harness.record import RunDirectory

    return "new" if path is None else RunDirectory(path).status()


def _table(directory: SweepDirectory, runs: Path) -> Any:
    from rich.table import Table

    rows = _rows(directory, runs)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*("-" if value is None else str(value) for value in row.values()))
    return table


def _is_over(directory: SweepDirectory) -> bool:
    record = directory.read()
    assert record is not None
    return record.finished or not directory.controllers()


def _state(directory: SweepDirectory) -> str:
    record = directory.read()
    assert record is not None
    if directory.controllers():
        return f"{record.name} is running."
    if record.finished:
        return f"{record.name} is finished (beyondrl report {record.name})."
    return f"{record.name} is not finished and nobody works on it. Go on with: {record.commands[-1]}"
