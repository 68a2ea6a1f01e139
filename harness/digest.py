"""The digest of a file's or folder's content: what stands for local data in a run's identity."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from harness.errors import UserError


def content_digest(place: str) -> str:
    """SHA-256 (hexadecimal) of a file, or of all files below a folder with their names; UserError if there is none."""
    path = Path(place)
    if path.is_file():
        return _file_digest(path, path.stat().st_mtime_ns, path.stat().st_size)
    if not path.is_dir():
        raise UserError(f"There is no file or folder {place}: give the path of the data.")
    digest = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        content = _file_digest(file, file.stat().st_mtime_ns, file.stat().st_size)
        digest.update(f"{file.relative_to(path).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


@cache
def _file_digest(file: Path, _modified: int, _size: int) -> str:
    """Read again only if the file's time or size has changed."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
