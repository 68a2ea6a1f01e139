"""Rules on rows of cells: the families of one-dimensional ARC, each a function from a puzzle's choices to its rule.

A family draws what is fixed within a puzzle (a distance, a colour) and returns the rule: a function that draws a row of
a given length and gives it with what becomes of it, or None where nothing fits. 0 is the background. The families are
ours; the idea of ARC on one line is Xu et al. 2024 (arXiv 2305.18354).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import groupby
from typing import NamedTuple

Line = list[int]
Rule = Callable[[random.Random, int], tuple[Line, Line] | None]


class Block(NamedTuple):
    """Neighbouring cells of one colour."""

    start: int
    length: int
    colour: int


def _blocks(rng: random.Random, length: int, sizes: list[int], colours: list[int], gap: int = 1) -> list[Block] | None:
    """Blocks of the given sizes in order, at least `gap` background cells between them."""
    spare = length - sum(sizes) - gap * (len(sizes) - 1)
    if spare < 0:
        return None
    cuts = sorted(rng.randint(0, spare) for _ in sizes)
    starts = [cut + sum(sizes[:place]) + gap * place for place, cut in enumerate(cuts)]
    return [Block(*block) for block in zip(starts, sizes, colours, strict=True)]


def _painted(length: int, blocks: list[Block]) -> Line:
    line = [0] * length
    for block in blocks:
        line[block.start : block.start + block.length] = [block.colour] * block.length
    return line


def _colours(rng: random.Random, count: int, without: int = 0) -> list[int]:
    """Different colours, none of them the background or `without`."""
    return rng.sample([colour for colour in range(1, 10) if colour != without], count)


def _sizes(rng: random.Random, length: int, count: int) -> list[int]:
    """Different sizes that may fit."""
    return rng.sample(range(1, max(count, length // count - 1) + 1), count)


def shift(rng: random.Random) -> Rule:
    """A block moves some cells to the right."""
    distance = rng.randint(1, 3)

    def rule(rng: random.Random, length: int) -> tuple[Line, Line] | None:
        size = rng.randint(1, max(1, length - distance - 1))
        place = _blocks(rng, length - distance, [size], _colours(rng, 1))
        if place is None:
            return None
        (block,) = place
        return _painted(length, [block]), _painted(length, [block._replace(start=block.start + distance)])

    return rule


def to_wall(rng: random.Random) -> Rule:
    """A block slides to the right end, or to the left one."""
    right = rng.random() < 0.5

    def rule(rng: random.Random, length: int) -> tuple[Line, Line] | None:
        size = rng.randint(1, length - 2)
        start = rng.randint(0, length - size - 1) + (not right)
        block = Block(start, size, _colours(rng, 1)[0])
        return _painted(length, [block]), _painted(length, [block._replace(start=length - size if right else 0)])

    return rule


def fill(rng: random.Random) -> Rule:
    """What lies between two cells of one colour takes that colour."""

    def rule(rng: random.Random, length: int) -> tuple[Line, Line] | None:
        inside = rng.randint(1, length - 2)
        (block,) = _blocks(rng, length, [inside + 2], _colours(rng, 1)) or [None]
        if block is None:
            return None
        ends = [block._replace(length=1), Block(block.start + inside + 1, 1, block.colour)]
        return _painted(length, ends), _painted(length, [block])

    return rule


def hollow(rng: random.Random) -> Rule:
    """Of a block only the ends stay."""
    filled = fill(rng)

    def rule(rng: random.Random, length: int) -> tuple[Line, Line] | None:
        drawn = filled(rng, length)
        return drawn and (drawn[1], drawn[0])

    return rule


def recolour(rng: random.Random) -> Rule:
    """Every block takes the puzzle's colour."""
    colour = rng.randint(1, 9)

    def rule(rng: random.Random, length: int) -> tuple[Line, Line] | None:
        sizes = _sizes(rng, length, 2)
        blocks = _blocks(rng, length, sizes, _colours(rng, 2, without=colour))
        return blocks and (_painted(length, blocks), _painted(length, [b._replace(colour=colour) for b in blocks]))

    return rule


def mirror(rng: random.Random) -> Rule:
    """The row is read from the other end."""

    def rule(rng: random.Random, length: int) -> tuple[Line, Line] | None:
        blocks = _blocks(rng, length, _sizes(rng, length, 2), _colours(rng, 2), gap=rng.randint(0, 1))
        line = blocks and _painted(length, blocks)
        return (line, line[::-1]) if line and line != line[::-1] else None

    return rule


def grow(rng: random.Random) -> Rule:
    """Each single cell grows by a cell to both sides."""

    def rule(rng: random.Random, length: int) -> tuple[Line, Line] | None:
        count = rng.randint(1, min(9, max(1, length // 4)))
        blocks = _blocks(rng, length, [3] * count, _colours(rng, count))
        if blocks is None:
            return None
        return _painted(length, [Block(b.start + 1, 1, b.colour) for b in blocks]), _painted(length, blocks)

    return rule


def gather(rng: random.Random) -> Rule:
    """All cells with a colour close up to the left and keep their order."""

    def rule(rng: random.Random, length: int) -> tuple[Line, Line] | None:
        count = rng.randint(2, max(2, length // 2))
        line = [0] * length
        for place in rng.sample(range(length), count):
            line[place] = rng.randint(1, 9)
        made = [cell for cell in line if cell]
        made += [0] * (length - len(made))
        return (line, made) if line != made else None

    return rule


def longest(rng: random.Random) -> Rule:
    """Only the longest block stays."""

    def rule(rng: random.Random, length: int) -> tuple[Line, Line] | None:
        count = rng.randint(2, 3)
        blocks = _blocks(rng, length, _sizes(rng, length, count), _colours(rng, count))
        return blocks and (_painted(length, blocks), _painted(length, [max(blocks, key=lambda b: b.length)]))

    return rule


def clean(rng: random.Random) -> Rule:
    """Single cells vanish, blocks stay."""

    def rule(rng: random.Random, length: int) -> tuple[Line, Line] | None:
        sizes = [1] * rng.randint(1, 2) + [rng.randint(2, max(2, length // 2 - 1))]
        rng.shuffle(sizes)
        blocks = _blocks(rng, length, sizes, _colours(rng, len(sizes)))
        return blocks and (_painted(length, blocks), _painted(length, [b for b in blocks if b.length > 1]))

    return rule


def double(rng: random.Random) -> Rule:
    """A coloured pattern is repeated right behind itself."""

    def rule(rng: random.Random, length: int) -> tuple[Line, Line] | None:
        size = rng.randint(1, min(4, length // 2))
        pattern = [rng.randint(1, 9) for _ in range(size)]
        start = rng.randint(0, length - 2 * size)
        rest = [0] * (length - start - 2 * size)
        return [0] * start + pattern + [0] * size + rest, [0] * start + pattern * 2 + rest

    return rule


def by_parity(rng: random.Random) -> Rule:
    """Blocks of even length take one colour, of odd length another."""
    even, odd = _colours(rng, 2)

    def rule(rng: random.Random, length: int) -> tuple[Line, Line] | None:
        sizes = [rng.randint(1, 4) for _ in range(2)]
        (grey,) = _colours(rng, 1)
        blocks = _blocks(rng, length, sizes, [grey] * 2)
        if blocks is None:
            return None
        made = [b._replace(colour=odd if b.length % 2 else even) for b in blocks]
        return (_painted(length, blocks), _painted(length, made)) if made != blocks else None

    return rule


def swap(rng: random.Random) -> Rule:
    """Two blocks exchange their colours."""

    def rule(rng: random.Random, length: int) -> tuple[Line, Line] | None:
        colours = _colours(rng, 2)
        blocks = _blocks(rng, length, _sizes(rng, length, 2), colours, gap=rng.randint(0, 1))
        if blocks is None:
            return None
        made = [b._replace(colour=colour) for b, colour in zip(blocks, colours[::-1], strict=True)]
        return _painted(length, blocks), _painted(length, made)

    return rule


def in_order(rng: random.Random) -> Rule:
    """Blocks a cell apart are put in the order of their lengths."""

    def rule(rng: random.Random, length: int) -> tuple[Line, Line] | None:
        sizes = rng.sample(range(1, 6), 3)
        spare = length - sum(sizes) - 2
        if spare < 0 or sizes == sorted(sizes):
            return None
        pairs, before = list(zip(sizes, _colours(rng, 3), strict=True)), rng.randint(0, spare)

        def row(pairs: list[tuple[int, int]]) -> Line:
            made = [0] * before
            for size, colour in pairs:
                made += [colour] * size + [0]
            return (made + [0] * length)[:length]

        return row(pairs), row(sorted(pairs))

    return rule


def count(rng: random.Random) -> Rule:
    """As many cells of the puzzle's colour as there are blocks: the answer has its own length."""
    colour = rng.randint(1, 9)

    def rule(rng: random.Random, length: int) -> tuple[Line, Line] | None:
        number = rng.randint(2, min(8, max(2, length // 3)))
        sizes = [rng.randint(1, 2) for _ in range(number)]
        blocks = _blocks(rng, length, sizes, _colours(rng, number, without=colour))
        return blocks and (_painted(length, blocks), [colour] * number)

    return rule


def squeeze(rng: random.Random) -> Rule:
    """Of every run of equal cells one cell stays."""

    def rule(rng: random.Random, length: int) -> tuple[Line, Line] | None:
        blocks = _blocks(rng, length, _sizes(rng, length, 3), _colours(rng, 3), gap=0)
        line = blocks and _painted(length, blocks)
        return line and (line, [colour for colour, _ in groupby(line)])

    return rule


FAMILIES: dict[str, Callable[[random.Random], Rule]] = {
    family.__name__: family
    for family in (
        shift, to_wall, fill, hollow, recolour, mirror, grow, gather,
        longest, clean, double, by_parity, swap, in_order, count, squeeze,
    )
}  # fmt: skip
"""By name, in an order that stays: levels take the first few."""
