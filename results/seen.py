"""Which run directories are as they were at the last ingest, told by names, sizes and times of their files alone.

A finished run is written once, so that its files need not be read again to know that nothing has changed; what changes
them (a regrade, a run made again) changes a size or a time. A run without a result has no fingerprint: whether it is
running or stale depends on the hour too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.record import RunDirectory

if TYPE_CHECKING:
    import duckdb

_SHOWN = frozenset({"spec.json", "result.json", "events.jsonl", "environment.json", "samples.parquet", "error.json"})


def scan(runs: Path) -> Iterator[tuple[RunDirectory, str, str | None]]:
    """Every run below `runs` in the order of `all_runs`, with its folder and its fingerprint."""
    for task in _folders(str(runs)):
        for method in _folders(task):
            for run in _folders(method):
                fingerprint = _fingerprint(run)
                if fingerprint is not None:
                    yield RunDirectory(Path(run)), os.path.relpath(run, runs), fingerprint or None


def read_seen(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Fingerprints of what was ingested, by folder; the table is made where it is not there yet."""
    connection.execute("CREATE TABLE IF NOT EXISTS seen (folder VARCHAR PRIMARY KEY, fingerprint VARCHAR)")
    return dict(connection.execute("SELECT folder, fingerprint FROM seen").fetchall())


def write_seen(connection: duckdb.DuckDBPyConnection, found: dict[str, str]) -> None:
    """Remember fingerprints."""
    if not found:
        return
    import pyarrow as pa

    connection.register("fresh", pa.table({"folder": list(found), "fingerprint": list(found.values())}))
    connection.execute("INSERT OR REPLACE INTO seen SELECT folder, fingerprint FROM fresh")
    connection.unregister("fresh")


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
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in _SHOWN:
                status = entry.stat()
                found[entry.name] = f"{entry.name} {status.st_size} {status.st_mtime_ns}"
            elif entry.name == "regrades":
                files = sorted(os.scandir(entry.path), key=lambda one: one.name)
                found[entry.name] = " ".join(f"{one.name} {one.stat().st_mtime_ns}" for one in files)
    if "spec.json" not in found:
        return None
    if "result.json" not in found:
        return ""
    return hashlib.sha256("\n".join(sorted(found.values())).encode()).hexdigest()
