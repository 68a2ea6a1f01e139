"""Sudoku 4x4 as a pre-training family: a puzzle with one solution and 4 to 8 blanks, answered by the whole grid.

There are exactly 288 valid grids in five orbits under relabelling and the symmetries of the square, of 24, 24, 48, 96
and 96 grids. A split by puzzle would leak every solution, one by grid every relabelled solution, so orbits are split:
`split_of_grid` gives one of 96 to test and the two of 24 to val; what is left is for training and pre-training. An
answer is right if it keeps the clues and every row, column and box is a permutation of 1 to 4.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from functools import cache
from itertools import permutations

from tasks.corpus import Passage

BLANKS = (4, 8)


@cache
def grids() -> tuple[tuple[int, ...], ...]:
    """All 288 valid grids as 16 cells, row by row."""
    rows = list(permutations((1, 2, 3, 4)))
    found = []
    for first in rows:
        for second in rows:
            if {first[0], first[1]} & {second[0], second[1]}:
                continue
            for third in rows:
                if any(third[c] in (first[c], second[c]) for c in range(4)):
                    continue
                fourth = tuple(({1, 2, 3, 4} - {first[c], second[c], third[c]}).pop() for c in range(4))
                cells = (*first, *second, *third, *fourth)
                if valid(cells):
                    found.append(cells)
    return tuple(found)


def valid(cells: tuple[int, ...]) -> bool:
    """Whether every row, column and box holds 1 to 4."""
    full = {1, 2, 3, 4}
    rows = (cells[4 * r : 4 * r + 4] for r in range(4))
    columns = (cells[c::4] for c in range(4))
    boxes = ((cells[i], cells[i + 1], cells[i + 4], cells[i + 5]) for i in (0, 2, 8, 10))
    return all(set(group) == full for groups in (rows, columns, boxes) for group in groups)


@cache
def _by_cell() -> tuple[dict[int, int], ...]:
    """For each cell and value the set of grids that have it, as bits of an integer."""
    table: list[dict[int, int]] = [dict.fromkeys(range(1, 5), 0) for _ in range(16)]
    for index, grid in enumerate(grids()):
        for cell, value in enumerate(grid):
            table[cell][value] |= 1 << index
    return tuple(table)


def _passage(rng: random.Random, probe: bool) -> Passage:
    solution = rng.choice(_held()[0 if probe else 1])
    while True:
        blanks = set(rng.sample(range(16), rng.randint(*BLANKS)))
        matching = -1
        for cell in range(16):
            if cell not in blanks:
                matching &= _by_cell()[cell][solution[cell]]
        if matching.bit_count() == 1:
            shown = ["_" if cell in blanks else str(solution[cell]) for cell in range(16)]
            return Passage(f"sudoku\n{_layout(shown)}\n>\n", _layout(list(map(str, solution))))


def orbit(grid: tuple[int, ...], side: int = 4) -> tuple[int, ...]:
    """The least grid among the relabelled images of `grid` under the eight symmetries of the square."""
    images, turned = [], grid
    for _ in range(4):
        turned = tuple(turned[side * (side - 1 - column) + row] for row in range(side) for column in range(side))
        mirrored = tuple(turned[side * column + row] for row in range(side) for column in range(side))
        images += [_relabelled(turned), _relabelled(mirrored)]
    return min(images)


def _relabelled(grid: tuple[int, ...]) -> tuple[int, ...]:
    """Digits renamed in the order in which they first stand."""
    names: dict[int, int] = {}
    return tuple(names.setdefault(digit, len(names) + 1) for digit in grid)


@cache
def _splits() -> dict[tuple[int, ...], str]:
    """The split of every grid."""
    orbits = {grid: orbit(grid) for grid in grids()}
    sizes = Counter(orbits.values())
    large = [representative for representative, size in sizes.items() if size == 96]
    test = min(large, key=lambda representative: hashlib.sha256(bytes(representative)).digest())
    return {
        grid: "test" if found == test else "val" if sizes[found] == 24 else "train" for grid, found in orbits.items()
    }


def split_of_grid(grid: tuple[int, ...]) -> str:
    """test, val or train of a solution; all of an orbit are in one split."""
    return _splits()[grid]


@cache
def _held() -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    return tuple([grid for grid in grids() if split_of_grid(grid) == split] for split in ("val", "train"))  # type: ignore[return-value]


def _layout(cells: list[str]) -> str:
    return "\n".join(" ".join(cells[4 * row : 4 * row + 4]) for row in range(4))


def sample(rng: random.Random) -> Passage:
    """A puzzle to learn from."""
    return _passage(rng, probe=False)


def probes(n: int) -> list[Passage]:
    """`n` puzzles whose solutions no sample has."""
    rng = random.Random("sudoku probes")
    return [_passage(rng, probe=True) for _ in range(n)]


def correct(probe: Passage, completion: str) -> bool:
    """Whether `completion` solves the puzzle of `probe`."""
    digits = re.findall(r"[0-9]+", completion)
    if len(digits) != 16 or not all(digit in ("1", "2", "3", "4") for digit in digits):
        return False
    clues = probe.prompt.split("\n", 1)[1].split(">")[0].split()
    kept = all(clue in ("_", digit) for clue, digit in zip(clues, digits, strict=True))
    return kept and valid(tuple(map(int, digits)))
