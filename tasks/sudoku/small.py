"""All 288 full grids of 4x4 and their split by orbit.

They fall into five orbits under renaming and the symmetries of the square, of 24, 24, 48, 96 and 96 grids: one of 96
(which one a hash decides) is test, the two of 24 are val, the rest is for training and for pre-training.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import cache
from itertools import permutations

from tasks.sudoku.grid import Cells, Shape, keeps_rules, orbit

SHAPE = Shape(2, 2)


@cache
def grids() -> tuple[Cells, ...]:
    """Every full grid, in the order of its cells."""
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
                if keeps_rules(cells, SHAPE):
                    found.append(cells)
    return tuple(found)


@cache
def splits() -> dict[Cells, str]:
    """test, val or train of every full grid."""
    orbits = {grid: orbit(grid, SHAPE) for grid in grids()}
    sizes = Counter(orbits.values())
    large = [representative for representative, size in sizes.items() if size == 96]
    test = min(large, key=lambda representative: hashlib.sha256(bytes(representative)).digest())
    return {
        grid: "test" if found == test else "val" if sizes[found] == 24 else "train" for grid, found in orbits.items()
    }


@cache
def grids_of(split: str) -> tuple[Cells, ...]:
    """The full grids of a split."""
    return tuple(grid for grid in grids() if splits()[grid] == split)


@cache
def _by_cell() -> tuple[dict[int, int], ...]:
    """For each cell and digit the set of grids that have it, as bits of an integer."""
    table: list[dict[int, int]] = [dict.fromkeys(range(1, 5), 0) for _ in range(16)]
    for index, grid in enumerate(grids()):
        for cell, digit in enumerate(grid):
            table[cell][digit] |= 1 << index
    return tuple(table)


def is_only_solution(solution: Cells, blanks: set[int]) -> bool:
    """Whether no other full grid agrees with `solution` outside the `blanks`."""
    matching = -1
    for cell in range(16):
        if cell not in blanks:
            matching &= _by_cell()[cell][solution[cell]]
    return matching.bit_count() == 1
