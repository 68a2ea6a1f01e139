"""A listing as a table or as JSON: the same rows either way."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


NARROW = 120
"""Characters of a line below which a terminal gets fewer columns."""


def show(
    rows: Sequence[Mapping[str, Any]],
    as_json: bool,
    columns: Sequence[str] = (),
    empty: str = "nothing",
    narrow: Sequence[str] = (),
) -> None:
    """Print rows; `columns` orders and chooses them for the table, `narrow` in a narrow terminal; JSON has them all."""
    if as_json:
        json.dump([dict(row) for row in rows], sys.stdout, indent=1, default=str)
        sys.stdout.write("\n")
        return
    if not rows:
        console().print(empty, highlight=False, markup=False, soft_wrap=True)
        return
    from rich.table import Table

    terminal = console()
    names = list((narrow if terminal.width < NARROW else ()) or columns or rows[0])
    table = Table(box=None, pad_edge=False, header_style="bold")
    for position, name in enumerate(names):
        table.add_column(name, overflow="fold", no_wrap=position == 0)
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in names))
    terminal.print(table)


def console() -> Console:
    """The terminal, or a wide page where there is none."""
    from rich.console import Console

    there = Console()
    return there if there.is_terminal else Console(width=160)


def _cell(value: Any) -> str:
    from rich.markup import escape

    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return escape(str(value))
