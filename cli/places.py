"""Whether a place can be written to, found out before any work is done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import UserError


def require_writable(directory: Path, option: str) -> None:
    """Make the directory and write to it; UserError in one sentence when that cannot be."""
    probe = directory / f".writable.{os.getpid()}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_text("x")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(
            f"{directory} cannot be written to: {reason}. Choose another place with {option} DIR."
        ) from None


@contextmanager
def new_directory(out: Path) -> Iterator[Path]:
    """A folder to write into that becomes `out` when all is written; UserError if `out` holds something already."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty: choose another --out.")
    require_writable(out.absolute().parent, "--out")
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
        if out.exists():
            out.rmdir()
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def nearest_existing(path: Path) -> Path:
    """The path itself, or the nearest directory above it that is there."""
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path
