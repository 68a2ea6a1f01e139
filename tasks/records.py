"""Records of a user's data file, each with the line it stands on, so that a mistake in the data is named by its place.

JSONL files (one object a line) are read whole and checked: UTF-8, JSON, an object, the columns that are needed, each
of its type, no `id` twice. `fail` words a mistake that only the task can see, such as a gold answer that its own grader
rejects. `read_json` reads a file that is one JSON value by the same rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import UserError

_IDS = ("id", "unique_id")
"""Columns that name a record."""
_TABLES = {
    ".csv": "read_csv('{name}', dtype=str)",
    ".tsv": "read_csv('{name}', dtype=str, sep=chr(9))",
    ".parquet": "read_parquet('{name}')",
}
"""How pandas reads what is no JSONL; as text, so that 007 stays what it is."""


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
    _refuse_other_formats(path, content)
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
    for column in _IDS:
        named = [record for record in records if record.data.get(column) is not None]
        refuse_duplicates(named, [str(record.data[column]) for record in named], column)
    return records


def read_json(path: Path) -> Any:
    """The value of a JSON file; UserError with file and line for what is wrong with it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"The data file {path} cannot be read: {error.strerror}.") from None
    if not content.strip():
        raise UserError(f"The data file {path} is empty.")
    return _value(path, 1, content, "")


def refuse_duplicates(records: Iterable[Record], ids: Iterable[str], column: str | None = None) -> None:
    """UserError naming both lines where two records have the same id: that of `column`, or else the question's."""
    seen: dict[str, Record] = {}
    repeated: list[tuple[Record, Record, str]] = []
    for record, identity in zip(records, ids, strict=True):
        if identity in seen:
            repeated.append((record, seen[identity], identity))
        else:
            seen[identity] = record
    if repeated:
        record, first, identity = repeated[0]
        where = f"line {first.line}" if first.file == record.file else f"{first.file.name}, line {first.line}"
        what = f"{column} {identity}" if column else "the same question"
        more = f"; {len(repeated)} lines repeat an earlier one: keep one of each" if len(repeated) > 1 else ""
        raise record.fail(f"it repeats {where} ({what}){more}")


def _refuse_other_formats(path: Path, content: bytes) -> None:
    """UserError with the command that converts it, for a table or for one JSON list of all rows."""
    if path.suffix in _TABLES:
        read = _TABLES[path.suffix].format(name=path.name)
        to = f"to_json('{path.stem}.jsonl', orient='records', lines=True, force_ascii=False)"
        raise UserError(f'{path} is no JSONL; convert it: python -c "import pandas; pandas.{read}.{to}".')
    if content.lstrip()[:1] == b"[":
        command = f"import json; [print(json.dumps(row)) for row in json.load(open('{path.name}'))]"
        raise UserError(
            f"{path}, line 1: this is one JSON list, and JSONL has one object a line; convert it: "
            f'python -c "{command}" > rows.jsonl.'
        )


def _parse(path: Path, number: int, raw: bytes) -> dict[str, Any]:
    value = _value(path, number, raw, "; each line holds one JSON object")
    if not isinstance(value, dict):
        raise UserError(f"{path}, line {number}: a {type(value).__name__} where a JSON object is needed.")
    return value


def _value(path: Path, line: int, raw: bytes, rule: str) -> Any:
    """The JSON that begins on a line of a file."""
    try:
        value = _DECODER.decode(raw.decode("utf-8-sig" if line == 1 else "utf-8"))
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        line += raw.count(b"\n", 0, error.start)
        byte = error.start - (raw.rfind(b"\n", 0, error.start) + 1)
        raise UserError(f"{path}, line {line}: not UTF-8 (byte {byte}); save the file as UTF-8.") from None
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):x}"
        raise UserError(f"{path}, line {line}: {half} is half a character; write both halves, or UTF-8.") from None
    except json.JSONDecodeError as error:
        more = "; is there a comma after the object?" if raw.rstrip().endswith(b"},") else ""
        raise UserError(f"{path}, line {line + error.lineno - 1}: not JSON ({error.msg}){rule}{more}.") from None
    except RecursionError:
        raise UserError(f"{path}, line {line}: not JSON (nested too deeply){rule}.") from None
    except _NoNumber as error:
        raise UserError(f"{path}, line {line}: not JSON ({error}){rule}.") from None
    except ValueError:
        raise UserError(f"{path}, line {line}: not JSON (a number of too many digits){rule}.") from None
    return value


class _NoNumber(Exception):
    """NaN or Infinity, which JSON does not have."""


def _constant(name: str) -> None:
    raise _NoNumber(f"{name} is no number")


_DECODER = json.JSONDecoder(parse_constant=_constant)


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
