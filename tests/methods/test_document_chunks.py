"""Cutting documents into chunks."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import chain

import pytest

from methods.generators.chunks import cut, drawn_count


@pytest.mark.parametrize("tokens", [1, 7, 32, 33, 100, 1025])
@pytest.mark.parametrize("longest", [1, 8, 32])
@pytest.mark.parametrize("wanted", [1, 3, 8])
def test_chunks_are_the_document_in_equal_parts(tokens: int, longest: int, wanted: int) -> None:
    ids = list(range(tokens))
    parts = cut(ids, longest, wanted)
    assert [*chain(*parts)] == ids
    assert max(map(len, parts)) <= longest
    size = math.ceil(tokens / min(tokens, max(wanted, math.ceil(tokens / longest))))
    assert {len(part) for part in parts[:-1]} <= {size} and 0 < len(parts[-1]) <= size


def test_a_document_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="no tokens"):
        cut([], 8)


def test_how_many_chunks_are_drawn() -> None:
    """Half of the documents are whole, an eighth in two, every number from three to eight a sixteenth."""
    rng = random.Random(0)
    counted = Counter(drawn_count(rng, 8, 10_000, 25) for _ in range(16_000))
    assert set(counted) == set(range(1, 9))
    for count, share in {1: 0.5, 2: 0.125, **dict.fromkeys(range(3, 9), 0.0625)}.items():
        assert counted[count] / 16_000 == pytest.approx(share, abs=0.012)
    assert {drawn_count(rng, 1, 10_000, 25) for _ in range(50)} == {1}
    assert max(drawn_count(rng, 8, 80, 25) for _ in range(200)) == 3  # never chunks shorter than the shortest
    assert {drawn_count(rng, 8, 10, 25) for _ in range(50)} == {1}
