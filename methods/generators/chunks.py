"""A document's tokens in chunks that end where sentences do, each short enough to be read.

A chunk that ends inside a sentence tells half of what it says, and what the two halves are read as is put side by side:
nobody has read the whole. So chunks end with sentences, a line's end counting as one, and are as equal as that allows;
a sentence that does not fit into a chunk is cut into equal parts. Put together they are the document. How many chunks a
training document is cut into is drawn as Doc-to-LoRA draws it (Charakorn et al. 2026, arXiv 2602.15902, appendix): one
with probability 1/2, two with 1/8, every further number up to `most` the same share of the rest.
"""

from __future__ import annotations

import math
import random
import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from harness.errors import UserError

_ONE, _TWO = 0.5, 0.125
_END = re.compile(r"""[.!?]["'”’)\]]*(?=\s)|[。！？]|\n""")


def cut_text(tokenizer: Any, text: str, longest: int, wanted: int = 1) -> list[list[int]]:
    """A text's token ids, without those that begin a text, cut by `cut`; none for a text without tokens.

    Raises UserError for a tokenizer that does not say where in the text its tokens lie.
    """
    if not tokenizer.is_fast:
        raise UserError(
            f"Documents are cut at the ends of sentences, and {type(tokenizer).__name__} does not say where in a text "
            "its tokens lie: take a model with a fast tokenizer."
        )
    encoded = tokenizer(text, add_special_tokens=False, verbose=False, return_offsets_mapping=True)  # cut, if too long
    starts = [start for start, _ in encoded.offset_mapping]
    ends = [bisect_left(starts, found.end()) for found in _END.finditer(text)]
    return cut(encoded.input_ids, longest, wanted, ends) if encoded.input_ids else []


def cut(ids: Sequence[int], longest: int, wanted: int = 1, ends: Sequence[int] = ()) -> list[list[int]]:
    """`ids` in `wanted` chunks, or in as many as it takes for none to be longer than `longest`.

    `ends` are where a sentence is over: how many tokens come before that, in ascending order. There are no more chunks
    than sentences, unless some sentence is too long, and their longest is as short as it can be. Raises ValueError for
    no tokens at all.
    """
    if not ids:
        raise ValueError("there is nothing to cut: the document has no tokens")
    borders = sorted({0, *ends, len(ids)})
    pieces = [size for start, end in pairwise(borders) for size in _parts(end - start, longest)]
    count = max(wanted, len(_filled(pieces, longest)))
    limits = range(max(pieces), longest + 1)
    limit = limits[bisect_left(limits, True, key=lambda limit: len(_filled(pieces, limit)) <= count)]
    chunks, start = [], 0
    for size in _filled(pieces, limit):
        chunks.append(list(ids[start : start + size]))
        start += size
    return chunks


def drawn_count(rng: random.Random, most: int, tokens: int, shortest: int) -> int:
    """Into how many parts a training document of `tokens` is cut, none of them much shorter than `shortest`."""
    weights = [_ONE, _TWO, *([(1 - _ONE - _TWO) / max(1, most - 2)] * (most - 2))][:most]
    drawn = rng.choices(range(1, len(weights) + 1), weights)[0]
    return max(1, min(drawn, tokens // shortest))


def _parts(tokens: int, longest: int) -> list[int]:
    """A sentence's sizes: one, or those of equal parts that fit; the last may be smaller."""
    size = math.ceil(tokens / math.ceil(tokens / longest))
    return [min(size, tokens - start) for start in range(0, tokens, size)]


def _filled(pieces: Sequence[int], limit: int) -> list[int]:
    """Sizes of chunks that take pieces in order for as long as they fit into `limit`."""
    chunks = [0]
    for size in pieces:
        if chunks[-1] + size > limit:
            chunks.append(0)
        chunks[-1] += size
    return chunks
