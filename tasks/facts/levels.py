"""The ladder of `facts`: how many facts a document tells, and how much is told beside them.

F0 to F3 are documents of one to three lines; F4 to F6 are needles in a haystack of one, two and four windows of a model
that reads 1,024 tokens. A task knows no tokenizer: a window stands for `WINDOW` words of noise, of which the lab
models' tokenizer makes about 945 tokens, so that a document of one window can be read together with a question; one of
four windows has 3.7 times the tokens that such a model reads, one of sixteen 14.8 times.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from harness.errors import UserError

WINDOW = 770
"""Words that take about 945 tokens: 922 to 980 with one to four facts among them."""


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
_MOST_FACTS = 100


def changed(level: Level, windows: float | None, facts: str | None, absent: float | None) -> Level:
    """`level` with a haystack of so many windows, so many facts ("4", "1-4"), such a share of absent questions.

    Raises UserError for what cannot be.
    """
    if windows is not None:
        if not 0 <= windows <= 1000:
            raise UserError(f"A haystack of {windows} windows is not possible: give a number from 0 to 1000.")
        level = level._replace(words=round(windows * WINDOW))
    if facts is not None:
        read = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", str(facts).strip())
        low, high = (int(read[1]), int(read[2] or read[1])) if read else (0, 0)
        if not 1 <= low <= high <= _MOST_FACTS:
            raise UserError(
                f"{facts!r} is no number of facts: give one from 1 to {_MOST_FACTS}, or a range such as 1-4."
            )
        level = level._replace(low=low, high=high)
    if absent is not None:
        if not 0 <= absent <= 1:
            raise UserError(f"A share of {absent} absent questions is not possible: give a number from 0 to 1.")
        level = level._replace(absent=absent)
    return level
