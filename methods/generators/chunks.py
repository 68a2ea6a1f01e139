"""A document's tokens in parts of equal size, each short enough to be read.

The parts are ceil(n / k) tokens long, the last may be shorter; put together they are the document. How many parts a
training document is cut into is drawn as Doc-to-LoRA draws it (Charakorn et al. 2026, arXiv 2602.15902, appendix): one
with probability 1/2, two with 1/8, every further number up to `most` the same share of the rest.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

_ONE, _TWO = 0.5, 0.125


def cut(ids: Sequence[int], longest: int, wanted: int = 1) -> list[list[int]]:
    """`ids` in `wanted` equal parts, or as many as it takes for none to be longer than `longest`.

    Equal sizes are rounded up, so that a few tokens in many parts can end in fewer of them. Raises ValueError for no
    tokens at all.
    """
    if not ids:
        raise ValueError("there is nothing to cut: the document has no tokens")
    parts = min(len(ids), max(wanted, math.ceil(len(ids) / longest)))
    size = math.ceil(len(ids) / parts)
    return [list(ids[start : start + size]) for start in range(0, len(ids), size)]


def drawn_count(rng: random.Random, most: int, tokens: int, shortest: int) -> int:
    """Into how many parts a training document of `tokens` is cut, none of them much shorter than `shortest`."""
    weights = [_ONE, _TWO, *([(1 - _ONE - _TWO) / max(1, most - 2)] * (most - 2))][:most]
    drawn = rng.choices(range(1, len(weights) + 1), weights)[0]
    return max(1, min(drawn, tokens // shortest))
