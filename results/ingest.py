"""The one collector: run and sweep directories into the database, in one transaction under a file lock.

A run whose content has not changed is left alone, and one whose files have not is not even read (`results.seen`), so
ingesting twice is ingesting once. The rows of a run or a sweep whose directory is gone go too; those from another
folder of runs stay. Rows go in by some hundreds of runs at a time. `rebuild` starts from nothing; the database that
results has the same rows. What papers report (results.literature) comes in beside the runs. Workers never open the
database.
"""

from __future__ import annotations

import fcntl
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from harness.errors import Damaged, UserError
from harness.preference_record import FOLDER as VOTES
from harness.preference_record import read_preferences
from harness.record import RunDirectory
from results.database import connect, prepare
from results.literature import read_papers, read_reported
from results.rows import content_hash, preference_row, run_rows, sweep_rows
from results.seen import content_of, forget, forget_one, read_one, read_seen, roots, scan, write_seen

if TYPE_CHECKING:
    import duckdb

_RUN_TABLES = ("runs", "stages", "metrics", "curve", "environments", "samples", "retention", "regrades")
_RUNS_A_BATCH = 200
_DEPTH = 2  # slashes in a run's folder: task/method/run
_SWEEP_TABLES = ("sweeps", "arms", "trials", "finals", "refusals")


@dataclass(frozen=True)
class IngestSummary:
    """How many runs were new, changed, unchanged, gone, and how many of all are failed; what is `damaged` is left out,
    each with its reason."""

    new: int
    updated: int
    unchanged: int
    failed: int
    removed: int
    damaged: tuple[str, ...] = ()


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
            root = str(runs.resolve())
            summary = _ingest_runs(connection, runs, root)
            summary = replace(summary, damaged=(*summary.damaged, *_ingest_sweeps(connection, runs, root)))
            _ingest_preferences(connection, runs, root)
            _ingest_reported(connection)
            connection.execute("COMMIT")
            return summary
        finally:
            connection.close()


def _ingest_runs(connection: duckdb.DuckDBPyConnection, runs: Path, root: str) -> IngestSummary:
    rows = connection.execute("SELECT run_id, content_hash, folder FROM runs").fetchall()
    known = {run_id: (content, folder) for run_id, content, folder in rows}
    places: dict[str, str] = {}
    damaged: list[str] = []
    seen = {folder: told for folder, told in read_seen(connection, root).items() if folder.count("/") == _DEPTH}
    new = updated = unchanged = failed = 0
    batch = _Batch(connection, runs, root)
    for folder, fingerprint in scan(runs):
        before = seen.pop(folder, None)
        name = folder.rpartition("/")[2]
        if name in places:
            raise UserError(f"{places[name]} and {folder} below {runs} are one run: move one of them away.")
        places[name] = folder
        if fingerprint is not None and before == fingerprint:
            unchanged += 1
            continue
        directory = RunDirectory(runs / folder)
        try:
            run_id = directory.read_spec().run_id
            if run_id != name:
                raise UserError(
                    f"{runs / folder} holds the run {run_id}: move the copy away, or give it that name again."
                )
            content = content_hash(directory)
            status = directory.status()
            if known.get(run_id) != (content, folder):
                batch.add(directory, run_id, content, run_id in known)
                updated += run_id in known
                new += run_id not in known
            else:
                unchanged += 1
        except Damaged as error:
            damaged.append(str(error))
            continue
        failed += status == "failed"
        batch.fingerprints[folder] = fingerprint or ""
        batch.write_if_full()
    batch.write()
    gone = forget(connection, root, seen if runs.is_dir() else ()) & set(known)
    _delete(connection, _RUN_TABLES, "run_id", gone)
    return IngestSummary(new, updated, unchanged, failed, len(gone), tuple(damaged))


class _Batch:
    """Rows of several runs, which go into each table in one statement."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, runs: Path, root: str) -> None:
        self.connection, self.runs, self.root = connection, runs, root
        self.fingerprints: dict[str, str] = {}
        self._clear()

    def add(self, directory: RunDirectory, run_id: str, content: str, replace: bool) -> None:
        """Take a run in; what it has in the database is replaced. `Damaged` for one that cannot be read as a whole."""
        found, regraded = run_rows(directory, self.runs, content), directory.regraded()
        answered = directory.samples.exists() and directory.result.exists()
        for file in [directory.samples, *regraded] if answered else regraded:
            _check_parquet(file)
        if replace:
            self.replaced.append(run_id)
        for table, rows in found.items():
            self.rows.setdefault(table, []).extend(rows)
        if answered:
            self.samples[str(directory.samples)] = run_id
        self.regrades |= {str(regrade): run_id for regrade in regraded}
        self.count += 1

    def write_if_full(self) -> None:
        """Write when there are enough runs for a statement."""
        if self.count >= _RUNS_A_BATCH:
            self.write()

    def write(self) -> None:
        """Put into the database what was added."""
        _delete(self.connection, _RUN_TABLES, "run_id", self.replaced)
        for table, rows in self.rows.items():
            _insert(self.connection, table, rows)
        _insert_files(self.connection, "samples", self.samples)
        _insert_files(self.connection, "regrades", self.regrades)
        write_seen(self.connection, self.root, self.fingerprints)
        self._clear()

    def _clear(self) -> None:
        self.fingerprints.clear()
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.samples: dict[str, str] = {}
        self.regrades: dict[str, str] = {}
        self.replaced: list[str] = []
        self.count = 0


def _check_parquet(file: Path) -> None:
    """`Damaged` where a file of answers has lost its end, or is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.read_metadata(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise Damaged(file, str(error).partition("\n")[0].rstrip(".")) from None


def _ingest_sweeps(connection: duckdb.DuckDBPyConnection, runs: Path, root: str) -> list[str]:
    """Returns which sweeps are damaged."""
    paths = sorted(runs.glob("sweeps/*/sweep.json"))
    if not _changed(connection, root, "sweeps", paths):
        return []
    before = {folder for folder in read_seen(connection, root) if folder.startswith("sweeps/")}
    found, damaged = [], []
    for path in paths:
        try:
            found.append(sweep_rows(path.parent, runs))
        except Damaged as error:
            damaged.append(str(error))
    names = {rows["sweeps"][0]["sweep"] for rows in found}
    gone = {folder.rpartition("/")[2] for folder in before} - names
    if gone:
        forget_one(connection, "sweeps", root)  # what another root has by these names is read again from there
    forget(connection, root, before)
    _delete(connection, _SWEEP_TABLES, "sweep", names | gone)
    for rows in found:
        for table, some in rows.items():
            _insert(connection, table, some)
    write_seen(connection, root, {f"sweeps/{name}": "" for name in names})
    return damaged


def _ingest_preferences(connection: duckdb.DuckDBPyConnection, runs: Path, root: str) -> None:
    schema, files = Path(__file__).parent / "preferences.sql", sorted(runs.glob(f"{VOTES}/*.jsonl"))
    if not _changed(connection, root, "preferences", [schema, *files]):
        return
    connection.execute(schema.read_text())
    everywhere = [file for one in roots(connection) for file in sorted(Path(one).glob(f"{VOTES}/*.jsonl"))]
    votes = {vote.vote: vote for file in everywhere for vote in read_preferences(file)}  # a copied file counts once
    _insert(connection, "preferences", [preference_row(vote) for vote in votes.values()])


def _ingest_reported(connection: duckdb.DuckDBPyConnection) -> None:
    here = Path(__file__).parent
    if not _changed(
        connection, "", "reported", [here / "reported.sql", here / "papers.csv", *sorted(here.glob("reported/*"))]
    ):
        return
    connection.execute((here / "reported.sql").read_text())
    _insert(connection, "papers", [paper.model_dump() for paper in read_papers().values()])
    _insert(connection, "reported", [figure.model_dump() for figure in read_reported()])


def _changed(connection: duckdb.DuckDBPyConnection, root: str, what: str, paths: list[Path]) -> bool:
    """Whether these files have another content than at the last ingest; remembered as ingested now."""
    content = content_of(paths)
    before = read_one(connection, root, what)
    write_seen(connection, root, {what: content})
    return before != content


def _delete(connection: duckdb.DuckDBPyConnection, tables: Sequence[str], column: str, names: Collection[str]) -> None:
    for table in tables if names else ():
        connection.execute(f"DELETE FROM {table} WHERE {column} IN (SELECT unnest(?::VARCHAR[]))", [sorted(names)])


def _insert_files(connection: duckdb.DuckDBPyConnection, table: str, files: dict[str, str]) -> None:
    """Insert the rows of Parquet files in the order of the files, each with the run that it is of."""
    if files:
        connection.execute(
            f"INSERT INTO {table} BY NAME SELECT (?::VARCHAR[])[file_index::BIGINT + 1] AS run_id, * "
            "FROM read_parquet(?, union_by_name = true)",
            [list(files.values()), list(files)],
        )


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    """Insert rows by column name, in one statement."""
    if not rows:
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = dict.fromkeys(map(tuple, rows))  # the keys of a row: mostly the same for all of them
    names = list(dict.fromkeys(name for kind in kinds for name in kind))
    found = zip(*(row.values() for row in rows), strict=True) if len(kinds) == 1 else None
    columns = found or ([row.get(name) for row in rows] for name in names)
    incoming = pa.table({name: pa.array(column) for name, column in zip(names, columns, strict=True)})
    quoted = ", ".join(f'"{name}"' for name in names)
    with NamedTemporaryFile(suffix=".parquet") as file:  # given a table, DuckDB imports pandas: a third of a second
        pq.write_table(incoming, file.name)
        connection.execute(f"INSERT INTO {table} ({quoted}) SELECT {quoted} FROM read_parquet(?)", [file.name])


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
