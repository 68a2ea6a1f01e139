"""Grids of ARC: rows of the colours 0 to 9, rectangular, at most 30 by 30; read from text, scored against another."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

Grid = tuple[tuple[int, ...], ...]
MOST = 30
COLOURS = 10
_TEXT = re.compile(r"[0-9 \t\r\n]*")
_BLANK_LINES = re.compile(r"\n[ \t\r]*\n\s*")


def show(grid: Grid) -> str:
    """A line a row, blanks between the cells."""
    return "\n".join(" ".join(map(str, row)) for row in grid)


def problem_of(value: Any) -> str | None:
    """What keeps `value` from being a grid, or None."""
    if not isinstance(value, list | tuple) or not value or not all(isinstance(row, list | tuple) for row in value):
        return "not a list of rows"
    if len({len(row) for row in value}) > 1:
        return "rows of different lengths"
    if not 1 <= len(value) <= MOST or not 1 <= len(value[0]) <= MOST:
        return f"{len(value)} rows by {len(value[0])} columns, not 1 to {MOST} each"
    if not all(type(cell) is int and 0 <= cell < COLOURS for row in value for cell in row):
        return "a cell that is no colour from 0 to 9"
    return None


def as_grid(value: Sequence[Sequence[int]]) -> Grid:
    """Lists of lists as a grid."""
    return tuple(tuple(row) for row in value)


def read_grids(text: str, count: int) -> tuple[tuple[Grid, ...] | None, str]:
    """`count` grids with blank lines between them, or None and why not; the shape is the text's own.

    Reasons: bad_character, wrong_count, too_large, ragged. Each digit is a cell, with or without blanks.
    """
    if not _TEXT.fullmatch(text):
        return None, "bad_character"
    if len(text) > count * (MOST + 1) * 3 * MOST:
        return None, "too_large"
    blocks = [block for block in _BLANK_LINES.split(text.replace("\r\n", "\n").strip()) if block.strip()]
    if len(blocks) != count:
        return None, "wrong_count"
    grids = []
    for block in blocks:
        grid = tuple(tuple(map(int, "".join(line.split()))) for line in block.split("\n"))
        if len({len(row) for row in grid}) > 1:
            return None, "ragged"
        if len(grid) > MOST or len(grid[0]) > MOST:
            return None, "too_large"
        grids.append(grid)
    return tuple(grids), "ok"


def agreement(one: Grid, other: Grid) -> float:
    """Share of equal cells; 0 where the shapes differ."""
    if len(one) != len(other) or len(one[0]) != len(other[0]):
        return 0.0
    pairs = [pair for rows in zip(one, other, strict=True) for pair in zip(*rows, strict=True)]
    return sum(a == b for a, b in pairs) / len(pairs)


def partial_score(answer: Grid, gold: Grid, question: Grid) -> float:
    """How far `answer` is from what no insight gets to `gold`, from 0 to 1.

    No insight is the better of copying the question and of one colour everywhere, by share of cells.
    """
    if answer == gold:
        return 1.0
    colours = Counter(cell for row in gold for cell in row)
    lazy = max(agreement(question, gold), max(colours.values()) / colours.total())
    return max(0.0, (agreement(answer, gold) - lazy) / (1 - lazy)) if lazy < 1 else 0.0
