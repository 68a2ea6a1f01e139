"""The ladder of word problems: W0 and W1 within what the lab's model has learnt, W2 just beyond, W5 like GSM8K."""

from __future__ import annotations

from typing import NamedTuple

from tasks.words.chain import Range
from tasks.words.corpus import ASIDES, RANGE


class Level(NamedTuple):
    """`within` is the range of the chains (None: a story); `asides` the chances of sentences beside the point."""

    name: str
    within: Range | None
    asides: tuple[float, ...]
    max_new_tokens: int
    """For an answer in the plain style, with room to spare: a tokeniser may take a token for each character."""


LEVELS = {
    level.name: level
    for level in (
        Level("W0", Range(steps=(1, 1), start=20, operand=20, limit=100), ASIDES, 32),
        Level("W1", RANGE, ASIDES, 64),
        Level("W2", Range(steps=(2, 3), start=50, operand=50, limit=999), ASIDES, 64),
        Level("W3", Range(steps=(4, 4), start=50, operand=50, limit=999), ASIDES, 80),
        Level("W4", Range(steps=(4, 6), start=999, operand=999, limit=999), (1.0, 0.5), 112),
        Level("W5", None, (0.4, 0.1), 144),
    )
}
