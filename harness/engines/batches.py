"""Which prompts are answered in one batch: the shortest together, as many as the batch's memory has room for.

What a batch needs grows with its rows times their tokens (the cache, the activations of a prefill) and, as prompts get
long, with the square of a prompt's tokens (the mask of a padded prefill, and its scores where attention is not fused).
Both are held against one bound: a row counts its prompt and the tokens it may generate; reading a prompt of n tokens
counts n * n / `_SQUARED`, once however many rows continue it. A row that is beyond the bound alone runs alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

BATCH_ROWS = 512
"""Rows of a batch by default: where prompts are short, more of them share the fixed cost of a step."""

BATCH_TOKENS = 2**17
"""Tokens of a batch by default: 16 rows of 8,192 tokens, 4.8 GB of cache for Qwen2.5-3B in bfloat16."""

_SQUARED = 512  # tokens; a longer prompt counts by its square: 16 are read at once of 2,048 tokens, 1 of 8,192


def batches(
    lengths: Sequence[int],
    rows: int,
    tokens: int,
    new_tokens: int,
    prompts: Sequence[Hashable] | None = None,
    read: int = 0,
) -> Iterator[list[int]]:
    """Places of `lengths` [prompts], shortest first, in batches of at most `rows` rows and `tokens` tokens.

    A row may generate `new_tokens`. Equal `prompts` stand side by side and are read once a batch; without them every
    row is read. `read` tokens at the beginning of every prompt are there already.
    """
    first: dict[Hashable, int] = {}
    names = range(len(lengths)) if prompts is None else prompts
    for place, name in enumerate(names):
        first.setdefault(name, place)
    order = sorted(range(len(lengths)), key=lambda place: (lengths[place], first[names[place]], place))
    batch: list[int] = []
    asked: set[int] = set()
    for place in order:
        asked.add(first[names[place]])
        longest = lengths[place]
        cached = (len(batch) + 1) * (longest + new_tokens)
        squared = len(asked) * (longest - read) * longest // _SQUARED
        if batch and (len(batch) >= rows or max(cached, squared) > tokens):
            yield batch
            batch, asked = [], {first[names[place]]}
        batch.append(place)
    if batch:
        yield batch


def rows_within(longest: int, rows: int, tokens: int, new_tokens: int) -> int:
    """How many rows of up to `longest` tokens can be read and answered at once, one at least."""
    a_row = max(longest + new_tokens, longest * longest // _SQUARED)
    return max(1, min(rows, tokens // max(1, a_row)))
