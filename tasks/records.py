"""Records of a user's data file, each with the line it stands on, so that a mistake in the data is named by its place.

JSONL files (one object a line) are read whole and checked: UTF-8, JSON, an object, the columns that are needed, each
of its type. `fail` words a mistake that only the task can see, such as a gold answer that its own grader rejects.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import UserError


class Record(NamedTuple):
    """One line of a data file."""

    file: Path
    line: int
    data: dict[str, Any]

    def fail(self, problem: str) -> UserError:
        """The error that names this line: raise it."""
        return UserError(f"{self.file}, line {self.line}: {problem}.")


def read_jsonl(path: Path, columns: Mapping[str, type | tuple[type, ...]] | None = None) -> list[Record]:
    """Every record of a JSONL file; UserError with file and line for what is wrong with it.

    `columns` maps the names that each record must have to the type of their value.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"The data file {path} cannot be read: {error.strerror}.") from None
    records = []
    for number, raw in enumerate(content.split(b"\n"), start=1):
        if not raw.strip():
            continue
        record = Record(path, number, _parse(path, number, raw))
        for name, kind in (columns or {}).items():
            _check(record, name, kind)
        records.append(record)
    if not records:
        raise UserError(f"The data file {path} is empty.")
    return records


def refuse_duplicates(records: Iterable[Record], ids: Iterable[str]) -> None:
    """UserError naming both lines where two records have the same id."""
    seen: dict[str, Record] = {}
    for record, identity in zip(records, ids, strict=True):
        if identity in seen:
            first = seen[identity]
            where = f"line {first.line}" if first.file == record.file else f"{first.file.name}, line {first.line}"
            raise record.fail(f"it repeats {where} (id {identity})")
        seen[identity] = record


def _parse(path: Path, number: int, raw: bytes) -> dict[str, Any]:
    where = f"{path}, line {number}"
    try:
        value = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 (byte {error.start}); save the file as UTF-8.") from None
    except (json.JSONDecodeError, RecursionError) as error:
        problem = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise UserError(f"{where}: not JSON ({problem}); each line holds one JSON object.") from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: a {type(value).__name__} where a JSON object is needed.")
    return value


def _check(record: Record, name: str, kind: type | tuple[type, ...]) -> None:
    if name not in record.data:
        there = ", ".join(sorted(record.data)) or "none"
        raise record.fail(f"no column {name!r} (there is: {there})")
    if not isinstance(record.data[name], kind) or (isinstance(record.data[name], bool) and kind is not bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(
            {"str": "text", "int": "a number", "float": "a number"}.get(k.__name__, k.__name__) for k in kinds
        )
        raise record.fail(f"column {name!r} holds {record.data[name]!r:.80}, not {wanted}")
