"""Puzzles with exactly one solution: a random full grid, cells of which are blanked as long as it stays the only one.

After a cell is blanked the solution stays unique exactly if no other digit in that cell leads to a full grid; so one
search for another digit is the whole check. Searches fill the cell with the fewest candidates first (bit masks).
"""

from __future__ import annotations

import random

from tasks.sudoku.grid import Cells, Shape, neighbours


def random_grid(shape: Shape, rng: random.Random) -> Cells:
    """A full grid; candidates are tried in a random order."""
    cells = [0] * shape.side**2
    masks = [(1 << shape.side) - 1] * len(cells)
    if not _fill(cells, masks, shape, rng):
        raise AssertionError("an empty grid can always be filled")
    return tuple(cells)


def dig(solution: Cells, blanks: int, shape: Shape, rng: random.Random) -> Cells:
    """`solution` with up to `blanks` cells blanked (0): fewer if no further one can be without losing uniqueness."""
    cells = list(solution)
    missing = blanks
    for cell in rng.sample(range(len(cells)), len(cells)):
        if missing == 0:
            break
        digit, cells[cell] = cells[cell], 0
        if _another(cells, cell, digit, shape):
            cells[cell] = digit
        else:
            missing -= 1
    return tuple(cells)


def solve(clues: Cells, shape: Shape) -> Cells | None:
    """A solution that keeps the clues, or None."""
    cells = list(clues)
    masks = _masks(cells, shape)
    return tuple(cells) if masks is not None and _fill(cells, masks, shape, None) else None


def _another(cells: list[int], cell: int, digit: int, shape: Shape) -> bool:
    """Whether the grid can be filled with something else than `digit` in the blank `cell`."""
    masks = _masks(cells, shape)
    if masks is None:
        return False
    masks[cell] &= ~(1 << (digit - 1))
    return masks[cell] != 0 and _fill(cells.copy(), masks, shape, None)


def _masks(cells: list[int], shape: Shape) -> list[int] | None:
    """The digits each blank may have, as bits; None if two clues contradict each other."""
    full, around = (1 << shape.side) - 1, neighbours(shape)
    masks = [full] * len(cells)
    for cell, digit in enumerate(cells):
        if digit:
            for other in around[cell]:
                if cells[other] == digit:
                    return None
                masks[other] &= ~(1 << (digit - 1))
    return masks


def _fill(cells: list[int], masks: list[int], shape: Shape, rng: random.Random | None) -> bool:
    """Fill the blanks in place; False if that is impossible."""
    best, fewest = -1, shape.side + 1
    for cell, digit in enumerate(cells):
        if not digit:
            count = masks[cell].bit_count()
            if count < fewest:
                best, fewest = cell, count
                if count < 2:
                    break
    if best < 0:
        return True
    digits = [digit for digit in range(1, shape.side + 1) if masks[best] >> (digit - 1) & 1]
    if rng is not None:
        rng.shuffle(digits)
    for digit in digits:
        bit = 1 << (digit - 1)
        touched = [other for other in neighbours(shape)[best] if not cells[other] and masks[other] & bit]
        cells[best] = digit
        for other in touched:
            masks[other] ^= bit
        if _fill(cells, masks, shape, rng):
            return True
        for other in touched:
            masks[other] |= bit
    cells[best] = 0
    return False
