"""Where studies live: a journal file in the sweep directory, or a database that several machines look at.

The caller holds the sweep's lease, so what a killed controller left behind in the journal can be mended: a torn last
line is cut off and a lock that nobody holds is removed.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UserError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


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
        return RDBStorage(url)
    except Exception as error:
        from sqlalchemy.exc import SQLAlchemyError

        if not isinstance(error, (SQLAlchemyError, ImportError, ValueError)):
            raise
        reason = str(error).strip().splitlines()[0]
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
