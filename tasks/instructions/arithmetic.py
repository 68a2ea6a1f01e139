"""Tasks on a row of six numbers, described in words: a second family that no base model was trained on.

A task is one operation; each has several descriptions, of which the last are held out for val and test.
"""

from __future__ import annotations

import random
from collections.abc import Callable

LENGTH, HIGH = 6, 9
Row = tuple[int, ...]
_Operation = tuple[Callable[[Row], list[int]], tuple[str, ...]]

OPERATIONS: dict[str, _Operation] = {
    "sum": (lambda row: [sum(row)], ("add all numbers up.", "give the sum of the numbers.", "what is the total?")),
    "largest": (
        lambda row: [max(row)],
        ("give the largest number.", "which is the highest?", "find the maximum."),
    ),
    "smallest": (
        lambda row: [min(row)],
        ("give the smallest number.", "which is the lowest?", "find the minimum."),
    ),
    "sorted": (lambda row: sorted(row), ("sort the numbers.", "put them in rising order.", "from small to large.")),
    "falling": (
        lambda row: sorted(row, reverse=True),
        ("sort the numbers downwards.", "put them in falling order.", "from large to small."),
    ),
    "plus one": (
        lambda row: [n + 1 for n in row],
        ("add one to each.", "raise all by one.", "one more each."),
    ),
    "doubled": (lambda row: [2 * n for n in row], ("double each number.", "write each twice as large.", "times two.")),
    "even": (
        lambda row: [sum(n % 2 == 0 for n in row)],
        ("count the even numbers.", "how many are even?", "give the number of even ones."),
    ),
    "odd": (
        lambda row: [sum(n % 2 for n in row)],
        ("count the odd numbers.", "how many are odd?", "give the number of odd ones."),
    ),
    "ends": (
        lambda row: [row[0] + row[-1]],
        ("add the first and the last number.", "give the sum of both ends.", "first plus last."),
    ),
    "spread": (
        lambda row: [max(row) - min(row)],
        ("subtract the smallest from the largest.", "how far apart are the extremes?", "largest minus smallest."),
    ),
    "reversed": (
        lambda row: list(row[::-1]),
        ("write the numbers backwards.", "reverse the row.", "from the last to the first."),
    ),
}
NAMES = tuple(OPERATIONS)
HELD_OUT = ("falling", "odd", "spread")
"""Operations that no training item has."""


def draw_row(rng: random.Random) -> Row:
    """Six numbers from 1 to 9."""
    return tuple(rng.randint(1, HIGH) for _ in range(LENGTH))


def descriptions(name: str, held: bool) -> tuple[str, ...]:
    """The descriptions of an operation that are for training, or those held out (the last)."""
    every = OPERATIONS[name][1]
    return every[-1:] if held else every[:-1]


def solve(name: str, row: Row) -> str:
    """The answer as text: numbers with blanks between them."""
    return " ".join(map(str, OPERATIONS[name][0](row)))
