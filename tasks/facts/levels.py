"""The ladder of `facts`: how many facts a document tells, and how much is told beside them.

F0 to F3 are documents of one to three lines; F4 to F6 are needles in a haystack of one, two and four windows of a model
that reads 1,024 tokens. A task knows no tokenizer: a window stands for `WINDOW` words of these documents, which a
tokenizer that knows them cuts into about as many tokens as the name says.
"""

from __future__ import annotations

from typing import NamedTuple

WINDOW = 770
"""Words that take about 1,024 tokens."""


class Level(NamedTuple):
    """From `low` to `high` facts, a question about nothing told in a share of `absent`, `words` of noise around."""

    name: str
    low: int
    high: int
    absent: float
    words: int


LEVELS = {
    level.name: level
    for level in (
        Level("F0", 2, 2, 0.0, 0),
        Level("F1", 4, 4, 0.0, 0),
        Level("F2", 5, 8, 0.15, 0),
        Level("F3", 5, 8, 0.15, 60),
        Level("F4", 1, 4, 0.0, WINDOW),
        Level("F5", 1, 4, 0.0, 2 * WINDOW),
        Level("F6", 1, 4, 0.0, 4 * WINDOW),
    )
}
