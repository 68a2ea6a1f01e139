"""Every table of a report as CSV, Parquet and LaTeX beside its pages, for who wants to go on with the figures.

CSV and Parquet hold numbers where a column is one of numbers: `37.1 [35.0, 39.2]` becomes three columns (`accuracy`,
`accuracy low`, `accuracy high`), in the units that the table shows; what is missing is empty, never a number. LaTeX has
the cells as they are shown and wants the package booktabs. Beside them lie the rows that tables are made from, with
every meter in its own unit: `final-runs`, `trials` and `curves`. The same rows give the same bytes.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.atomic import write_text
from reports.numbers import MISSING
from reports.sweep_data import SweepData
from reports.tables import Table

_INTERVAL = re.compile(r"([+-]?\d+(?:\.\d+)?) \[([+-]?\d+(?:\.\d+)?), ([+-]?\d+(?:\.\d+)?)\]")
_NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?")
_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def write_tables(tables: Mapping[str, Table], folder: Path) -> list[Path]:
    """Write `<folder>/<key>.csv`, `.parquet` and `.tex` of every table that has rows."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for key, table in tables.items():
        if table.rows:
            columns = columns_of(table)
            write_text(folder / f"{key}.csv", _csv(columns))
            write_text(folder / f"{key}.tex", latex(table))
            _parquet(columns, folder / f"{key}.parquet")
            written += [folder / f"{key}.{form}" for form in ("csv", "parquet", "tex")]
    return written


def raw_rows(data: SweepData) -> dict[str, list[dict[str, Any]]]:
    """The sweep's final runs, trials and learning curves as the database has them, a row each."""
    found: dict[str, list[dict[str, Any]]] = {"final-runs": [], "trials": [], "curves": []}
    for method in data.methods:
        for key, rows in zip(found, (method.runs, method.trials, method.curve), strict=True):
            found[key] += [{"arm": method.name, **row} for row in rows]
    return found


def write_rows(key: str, rows: list[dict[str, Any]], folder: Path) -> None:
    """Write `<folder>/<key>.csv` and `.parquet`; nothing where there are no rows."""
    if rows:
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        write_text(folder / f"{key}.csv", _csv(columns))
        _parquet(columns, folder / f"{key}.parquet")


def columns_of(table: Table) -> dict[str, list[Any]]:
    """The table by columns: numbers where all of a column are, three columns for one of intervals, else text."""
    found: dict[str, list[Any]] = {}
    for place, name in enumerate(table.columns):
        cells = [row[place] for row in table.rows]
        given = [cell for cell in cells if cell not in ("", MISSING)]
        if given and all(_INTERVAL.fullmatch(cell) for cell in given):
            for group, suffix in ((1, ""), (2, " low"), (3, " high")):
                found[name + suffix] = [
                    _number(match[group]) if (match := _INTERVAL.fullmatch(c)) else None for c in cells
                ]
        elif given and all(_NUMBER.fullmatch(cell) for cell in given):
            found[name] = [None if cell in ("", MISSING) else _number(cell) for cell in cells]
        else:
            found[name] = [None if cell in ("", MISSING) else cell for cell in cells]
    return found


def latex(table: Table) -> str:
    """A `tabular` with booktabs rules; the note stands above it as a comment."""
    sides = "".join("l" if column in table.left else "r" for column in table.columns)
    lines = [f"% {table.title}", *(f"% {line}" for line in table.note.splitlines())]
    lines += [rf"\begin{{tabular}}{{{sides}}}", r"\toprule", _row(table.columns), r"\midrule"]
    lines += [*(_row(row) for row in table.rows), r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return " & ".join(_escaped(cell) for cell in cells) + r" \\"


def _escaped(cell: str) -> str:
    text = "".join(_SPECIAL.get(character, character) for character in cell.replace("\n", " "))
    return f"{{{text}}}" if text.startswith("[") else text  # after \\ a bracket would be read as a length


def _number(text: str) -> int | float:
    plain = text.replace(",", "")
    return float(plain) if "." in plain or plain[0] in "+-" else int(plain)


def _csv(columns: dict[str, list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _parquet(columns: dict[str, list[Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    table = pa.table({name: _typed(values) for name, values in columns.items()})
    temporary = path.with_suffix(".tmp")
    parquet.write_table(table, temporary)
    temporary.rename(path)


def _typed(values: list[Any]) -> Any:
    import pyarrow as pa

    given = [value for value in values if value is not None]
    if any(isinstance(value, float) for value in given) and not any(isinstance(value, str) for value in given):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array(values, pa.string() if not given else None)
