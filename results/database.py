"""The results database: opening it, refusing what is not ours, asking it questions.

One process writes (results.ingest, under a lock) and nobody else opens the file meanwhile; readers open it read-only.
A file that is no DuckDB, has no `meta` table of ours or a newer schema is refused in one sentence.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError

if TYPE_CHECKING:
    import duckdb

DEFAULT_DATABASE = Path("results/data/beyondrl.duckdb")
SCHEMA_VERSION = 4
APPLICATION = "beyondrl"


def connect(database: Path, read_only: bool = True) -> duckdb.DuckDBPyConnection:
    """A connection to an existing results database; UserError if it is missing, foreign, newer or locked."""
    if read_only and not database.exists():
        raise UserError(
            f"There is no results database at {database}. Make it from the run directories: beyondrl ingest"
        )
    connection = _open(database, read_only)
    version = _version(connection, database)
    if version is not None and version != SCHEMA_VERSION:
        connection.close()
        age = "newer" if version > SCHEMA_VERSION else "older"
        remedy = "upgrade beyondrl" if version > SCHEMA_VERSION else "rebuild it: beyondrl ingest --rebuild"
        raise UserError(
            f"{database} has schema version {version}, {age} than this program's {SCHEMA_VERSION}: {remedy}, "
            "or name another file with --database."
        )
    return connection


def check(database: Path) -> None:
    """Raise UserError if there is a file that rows could not be brought into."""
    if database.exists():
        connect(database).close()


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the tables in an empty file, and the views in any."""
    here = Path(__file__).parent
    if not _tables(connection):
        connection.execute((here / "schema.sql").read_text())
        connection.execute("INSERT INTO meta VALUES (?, ?)", [SCHEMA_VERSION, APPLICATION])
    connection.execute((here / "views.sql").read_text())


def query(database: Path, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of a read-only question; a mistake in the SQL becomes one sentence."""
    import duckdb

    with connect(database) as connection:
        try:
            cursor = connection.execute(sql)
        except duckdb.Error as error:
            raise UserError(f"The database says: {str(error).splitlines()[0]}") from None
        columns = [column[0] for column in cursor.description or []]
        return columns, cursor.fetchall() if columns else []


def named_rows(connection: duckdb.DuckDBPyConnection, sql: str, *values: Any) -> list[dict[str, Any]]:
    """The rows of a question, each by its columns' names."""
    cursor = connection.execute(sql, list(values))
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _open(database: Path, read_only: bool) -> duckdb.DuckDBPyConnection:
    import duckdb

    try:
        if not read_only:
            database.parent.mkdir(parents=True, exist_ok=True)
        return duckdb.connect(str(database), read_only=read_only)
    except OSError as error:
        raise UserError(
            f"{database} cannot be opened: {error.strerror or error}. Name another with --database."
        ) from None
    except duckdb.Error as error:
        text = " ".join(str(error).split())
        if "lock" in text.lower():
            raise UserError(
                f"{database} is in use by another process: {text} Try again when it has finished."
            ) from None
        raise UserError(
            f"{database} cannot be opened as a results database: {text[:200]} Name another with --database."
        ) from None


def _tables(connection: duckdb.DuckDBPyConnection) -> set[str]:
    return {str(row[0]) for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}


def _version(connection: duckdb.DuckDBPyConnection, database: Path) -> int | None:
    """The schema version of the file; None for an empty one."""
    tables = _tables(connection)
    if not tables:
        return None
    row = None
    if "meta" in tables:
        columns = {str(r[0]) for r in connection.execute("SELECT name FROM pragma_table_info('meta')").fetchall()}
        if {"schema_version", "application"} <= columns:
            row = connection.execute("SELECT schema_version, application FROM meta").fetchone()
    if row is None or row[1] != APPLICATION:
        connection.close()
        raise UserError(f"{database} is a DuckDB database of something else. Name another with --database.")
    return int(row[0])
