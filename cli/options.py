"""Options that several commands share: where runs, database and reports are, and how to print."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from harness.errors import UserError


def _folder(given: Path) -> Path:
    """Runs hold files open, lock them and rename them: that takes a folder."""
    scheme = re.match(r"([a-z][a-z0-9+.-]+):/", str(given))
    if scheme is not None:
        raise UserError(
            f"Runs lie in a folder, and {scheme[1]}: is none: mount it as one with file locks, or copy the finished "
            "runs into a folder and ingest that (--runs DIR)."
        )
    return given


Runs = Annotated[Path, typer.Option("--runs", help="Directory of runs and sweeps.", callback=_folder)]
Database = Annotated[Path, typer.Option("--database", help="DuckDB file of all rows.")]
Out = Annotated[Path, typer.Option("--out", help="Directory for reports.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan, write nothing.")]
Slots = Annotated[int | None, typer.Option("--slots", help="Runs at a time; default: one a GPU, else one a core.")]
ExecutorName = Annotated[
    str | None, typer.Option("--executor", help="Where runs execute: local, ray or slurm; default: the file's.")
]
RayAddress = Annotated[
    str | None, typer.Option("--ray-address", help="Head of the Ray cluster, HOST:PORT; on one of its nodes: auto.")
]

RUNS = Path("runs")
DATABASE = Path("results/data/beyondrl.duckdb")
OUT = Path("reports/out")
