"""Which directories a database was made from, and which of them are as they were at the last ingest.

Told by names, sizes and times of files alone: a finished run is written once, so that its files need not be read again
to know that nothing has changed; what changes them (a regrade, a run made again) changes a size or a time. A run
without a result has no fingerprint: whether it is running or stale depends on the hour too. A database may be made from
several folders of runs; each is its `root`, an absolute path.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

_TOLD_BY = frozenset({"result.json", "samples.parquet", "events.jsonl"})  # whatever makes a run again writes these


def scan(runs: Path) -> Iterator[tuple[str, str | None]]:
    """The folder of every run below `runs`, in the order of `all_runs`, with its fingerprint."""
    root = str(runs)
    for task in _folders(root):
        for method in _folders(task):
            for run in _folders(method):
                fingerprint = _fingerprint(run)
                if fingerprint is not None:
                    yield run[len(root) :].lstrip("/"), fingerprint or None


def read_seen(connection: duckdb.DuckDBPyConnection, root: str) -> dict[str, str]:
    """Fingerprints of what was ingested from `root`, by folder (empty for a run that had no result)."""
    _prepare(connection)
    return dict(connection.execute("SELECT folder, fingerprint FROM ingested WHERE root = ?", [root]).fetchall())


def read_one(connection: duckdb.DuckDBPyConnection, root: str, folder: str) -> str | None:
    """The fingerprint of one folder of `root`; None where it was never ingested."""
    _prepare(connection)
    row = connection.execute(
        "SELECT fingerprint FROM ingested WHERE root = ? AND folder = ?", [root, folder]
    ).fetchone()
    return None if row is None else row[0]


def write_seen(connection: duckdb.DuckDBPyConnection, root: str, found: Mapping[str, str]) -> None:
    """Remember fingerprints."""
    if not found:
        return
    _prepare(connection)
    connection.execute(
        "INSERT OR REPLACE INTO ingested SELECT ?, unnest(?::VARCHAR[]), unnest(?::VARCHAR[])",
        [root, list(found), list(found.values())],
    )


def forget(connection: duckdb.DuckDBPyConnection, root: str, folders: Collection[str]) -> set[str]:
    """Forget folders of `root` that are gone; the names of those that lie nowhere else."""
    if not folders:
        return set()
    connection.execute(
        "DELETE FROM ingested WHERE root = ? AND folder IN (SELECT unnest(?::VARCHAR[]))", [root, list(folders)]
    )
    left = {folder.rpartition("/")[2] for (folder,) in connection.execute("SELECT folder FROM ingested").fetchall()}
    return {folder.rpartition("/")[2] for folder in folders} - left


def forget_one(connection: duckdb.DuckDBPyConnection, folder: str, but: str) -> None:
    """Forget one folder of every root `but` this one."""
    connection.execute("DELETE FROM ingested WHERE folder = ? AND root <> ?", [folder, but])


def roots(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Every folder of runs that the database was made from."""
    _prepare(connection)
    return [root for (root,) in connection.execute("SELECT DISTINCT root FROM ingested ORDER BY root").fetchall()]


def _prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table where it is not there yet; `seen` is what databases had that knew of one root only."""
    connection.execute("DROP TABLE IF EXISTS seen")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS ingested "
        "(root VARCHAR, folder VARCHAR, fingerprint VARCHAR, PRIMARY KEY (root, folder))"
    )


def content_of(paths: list[Path]) -> str:
    """A digest of whole files, for the few that are small."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.parent.name}/{path.name}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _folders(path: str) -> list[str]:
    """Folders in a folder by name: for a sorted walk, so that rows come in one order."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return []


def _fingerprint(folder: str) -> str | None:
    """None without a spec, empty without a result."""
    found, names = [], set()
    with os.scandir(folder) as entries:
        for entry in entries:
            names.add(entry.name)
            if entry.name in _TOLD_BY:
                status = entry.stat()
                found.append(f"{entry.name} {status.st_size} {status.st_mtime_ns}")
            elif entry.name == "regrades":
                with os.scandir(entry.path) as files:
                    found += [f"{file.name} {file.stat().st_mtime_ns}" for file in files]
    if "spec.json" not in names:
        return None
    if "result.json" not in names:
        return ""
    return " ".join(sorted(found))
