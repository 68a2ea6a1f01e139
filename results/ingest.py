"""The one collector: run and sweep directories into the database, in one transaction under a file lock.

A run whose content has not changed is left alone, so ingesting twice is ingesting once. `rebuild` starts from nothing;
the database that results has the same rows. What papers report (results.literature) comes in beside the runs. Workers
never open the database.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.record import all_runs
from results.database import connect, prepare
from results.literature import read_papers, read_reported
from results.rows import content_hash, run_rows, sweep_rows

if TYPE_CHECKING:
    import duckdb

_RUN_TABLES = ("runs", "stages", "metrics", "curve", "environments", "samples", "retention", "regrades")
_SWEEP_TABLES = ("sweeps", "arms", "trials", "finals", "refusals")


@dataclass(frozen=True)
class IngestSummary:
    """How many runs were new, changed, unchanged, and how many of all are failed."""

    new: int
    updated: int
    unchanged: int
    failed: int


def ingest(runs: Path, database: Path, rebuild: bool = False) -> IngestSummary:
    """Bring the database up to date with the directories below `runs`."""
    with _locked(database):
        if rebuild:
            connect(database, read_only=False).close()  # refuses to delete what is not ours
            database.unlink(missing_ok=True)
        connection = connect(database, read_only=False)
        try:
            prepare(connection)
            connection.execute("BEGIN")
            summary = _ingest_runs(connection, runs)
            _ingest_sweeps(connection, runs)
            _ingest_reported(connection)
            connection.execute("COMMIT")
            return summary
        finally:
            connection.close()


def _ingest_runs(connection: duckdb.DuckDBPyConnection, runs: Path) -> IngestSummary:
    known = dict(connection.execute("SELECT run_id, content_hash FROM runs").fetchall())
    new = updated = unchanged = failed = 0
    for directory in all_runs(runs):
        run_id = directory.read_spec().run_id
        content = content_hash(directory)
        failed += directory.status() == "failed"
        if known.get(run_id) == content:
            unchanged += 1
            continue
        if run_id in known:
            updated += 1
            for table in _RUN_TABLES:
                connection.execute(f"DELETE FROM {table} WHERE run_id = ?", [run_id])
        else:
            new += 1
        for table, rows in run_rows(directory, runs, content).items():
            _insert(connection, table, rows)
        if directory.samples.exists() and directory.result.exists():
            connection.execute(
                "INSERT INTO samples BY NAME SELECT ? AS run_id, * FROM read_parquet(?)",
                [run_id, str(directory.samples)],
            )
        for regrade in directory.regraded():
            connection.execute(
                "INSERT INTO regrades BY NAME SELECT ? AS run_id, * FROM read_parquet(?)", [run_id, str(regrade)]
            )
    return IngestSummary(new, updated, unchanged, failed)


def _ingest_sweeps(connection: duckdb.DuckDBPyConnection, runs: Path) -> None:
    for table in _SWEEP_TABLES:
        connection.execute(f"DELETE FROM {table}")
    for path in sorted(runs.glob("sweeps/*/sweep.json")):
        for table, rows in sweep_rows(path.parent, runs).items():
            _insert(connection, table, rows)


def _ingest_reported(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute((Path(__file__).parent / "reported.sql").read_text())
    _insert(connection, "papers", [paper.model_dump() for paper in read_papers().values()])
    _insert(connection, "reported", [figure.model_dump() for figure in read_reported()])


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    """Insert rows by column name, in one statement."""
    if not rows:
        return
    import pyarrow as pa

    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: pa.array([row.get(name) for row in rows]) for name in names}
    connection.register("incoming", pa.table(columns))
    quoted = ", ".join(f'"{name}"' for name in names)
    connection.execute(f"INSERT INTO {table} ({quoted}) SELECT {quoted} FROM incoming")
    connection.unregister("incoming")


@contextmanager
def _locked(database: Path) -> Iterator[None]:
    """Only one collector at a time, on this machine or on a shared folder."""
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        file = database.with_suffix(".lock").open("w")
    except OSError as error:
        raise UserError(
            f"The results database cannot be written in {database.parent}: {error.strerror}. "
            "Name another with --database."
        ) from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
