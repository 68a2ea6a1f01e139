"""Where studies live: a journal file in the sweep directory, or a database that several machines look at.

The caller of a journal holds the sweep's lease alone, so what a killed controller left behind in it can be mended: a
torn last line is cut off and a lock that nobody holds is removed. On PostgreSQL several controllers may share a study.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UserError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from sqlalchemy import Engine


def is_shared(url: str | None) -> bool:
    """Whether several controllers may work on the studies of this database at the same time."""
    return url is not None and url.startswith("postgresql")


def alone(storage: BaseStorage, name: str) -> contextlib.AbstractContextManager[None]:
    """Keep other controllers out of what goes by `name`; a controller that dies lets go of it."""
    engine = getattr(storage, "engine", None)
    if engine is None or engine.dialect.name != "postgresql":
        return contextlib.nullcontext()
    return _locked(engine, name)


@contextlib.contextmanager
def _locked(engine: Engine, name: str) -> Iterator[None]:
    from sqlalchemy import text

    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})
        yield


def open_storage(directory: Path, url: str | None) -> BaseStorage:
    """Optuna's storage of a sweep; UserError when a database cannot be opened."""
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if url is None:
        path = directory / "study.journal"
        _mend(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return JournalStorage(JournalFileBackend(str(path)))
    try:
        if not is_shared(url):
            return RDBStorage(url)
        from sqlalchemy import create_engine

        engine = create_engine(url)
        try:
            with _locked(engine, "tables"):  # two would make them at the same time
                return RDBStorage(url)
        finally:
            engine.dispose()
    except Exception as error:
        from sqlalchemy.exc import SQLAlchemyError

        if not isinstance(error, (SQLAlchemyError, ImportError, ValueError)):
            raise
        reason = str(error).strip().splitlines()[0]
        if isinstance(error, ImportError) and url.startswith("postgres"):
            reason = "it is postgresql+psycopg://..., with pip install 'beyondrl[postgres]'"
        raise UserError(
            f"The study database {url!r} cannot be opened: {reason} (storage: null keeps the study in a file)."
        ) from None


def _mend(path: Path) -> None:
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError), path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
            os.fsync(file.fileno())
