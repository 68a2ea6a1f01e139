"""Sudoku's ladder S0 to S6: the shape of the grid and how many cells are blank."""

from __future__ import annotations

from typing import NamedTuple

from tasks.sudoku.grid import Shape


class Level(NamedTuple):
    """Between `low` and `high` blank cells (inclusive) in a grid of `shape`."""

    name: str
    shape: Shape
    low: int
    high: int


LEVELS = {
    level.name: level
    for level in (
        Level("S0", Shape(2, 2), 4, 4),
        Level("S1", Shape(2, 2), 6, 8),
        Level("S2", Shape(2, 2), 9, 12),
        Level("S3", Shape(2, 3), 12, 18),
        Level("S4", Shape(3, 3), 20, 30),
        Level("S5", Shape(3, 3), 30, 50),
        Level("S6", Shape(3, 3), 51, 60),
    )
}
