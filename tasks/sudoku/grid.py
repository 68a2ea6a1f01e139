"""A Sudoku grid as a flat tuple of cells, row by row: its shape, its rules, and the orbit of a solution.

Two solutions are the same problem in disguise when one is the other with its digits renamed, turned or mirrored.
`orbit` names that class by its least member: the renamings and those of the eight symmetries of the square that keep
the boxes (all eight where boxes are square, four where they are not).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import itemgetter
from typing import NamedTuple

Cells = tuple[int, ...]
"""Digits from 1; 0 is a blank."""


class Shape(NamedTuple):
    """Boxes of `rows` x `columns` cells; the side of the grid is their product."""

    rows: int
    columns: int

    @property
    def side(self) -> int:
        return self.rows * self.columns


@cache
def groups(shape: Shape) -> tuple[tuple[int, ...], ...]:
    """The cells of every row, column and box."""
    side = shape.side
    rows = [tuple(range(side * r, side * (r + 1))) for r in range(side)]
    columns = [tuple(range(c, side * side, side)) for c in range(side)]
    boxes = [
        tuple(side * (top + r) + left + c for r in range(shape.rows) for c in range(shape.columns))
        for top in range(0, side, shape.rows)
        for left in range(0, side, shape.columns)
    ]
    return (*rows, *columns, *boxes)


@cache
def neighbours(shape: Shape) -> tuple[tuple[int, ...], ...]:
    """For each cell the other cells of its row, column and box."""
    found: list[set[int]] = [set() for _ in range(shape.side**2)]
    for group in groups(shape):
        for cell in group:
            found[cell].update(group)
    return tuple(tuple(sorted(cells - {cell})) for cell, cells in enumerate(found))


def keeps_rules(cells: Cells, shape: Shape) -> bool:
    """Whether every row, column and box of a grid of digits from 1 to its side holds each of them once."""
    return all(len(set(cells_of(cells))) == shape.side for cells_of in _getters(shape))


@cache
def _getters(shape: Shape) -> tuple[Callable[[Cells], Cells], ...]:
    return tuple(itemgetter(*group) for group in groups(shape))


def orbit(cells: Cells, shape: Shape) -> Cells:
    """The least image of a full grid: equal for grids that are one another in disguise."""
    side, images, turned = shape.side, [], cells
    for quarter in range(4):
        mirrored = tuple(turned[side * r + side - 1 - c] for r in range(side) for c in range(side))
        if shape.rows == shape.columns or quarter % 2 == 0:
            images += [_renamed(turned), _renamed(mirrored)]
        turned = tuple(turned[side * (side - 1 - c) + r] for r in range(side) for c in range(side))
    return min(images)


def _renamed(cells: Cells) -> Cells:
    """Digits renamed in the order in which they first stand."""
    names: dict[int, int] = {}
    return tuple(names.setdefault(digit, len(names) + 1) for digit in cells)
