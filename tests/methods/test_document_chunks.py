"""Cutting documents into chunks."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from itertools import accumulate, chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.models import load_model
from methods.generators.chunks import cut, cut_text, drawn_count


@pytest.mark.parametrize("tokens", [1, 7, 32, 33, 100, 1025])
@pytest.mark.parametrize("longest", [1, 8, 32])
@pytest.mark.parametrize("wanted", [1, 3, 8])
def test_a_sentence_that_is_too_long_is_cut_into_equal_parts(tokens: int, longest: int, wanted: int) -> None:
    ids = list(range(tokens))
    parts = cut(ids, longest, wanted)
    assert [*chain(*parts)] == ids
    size = math.ceil(tokens / math.ceil(tokens / longest))
    assert {len(part) for part in parts[:-1]} <= {size} and 0 < len(parts[-1]) <= size <= longest


@given(st.lists(st.integers(1, 12), min_size=1, max_size=30), st.integers(1, 40), st.integers(1, 8))
def test_chunks_end_with_sentences_and_are_as_equal_as_that_allows(sizes: list[int], longest: int, wanted: int) -> None:
    ends = [*accumulate(sizes)]
    ids = list(range(ends[-1]))
    parts = cut(ids, longest, wanted, ends)
    assert [*chain(*parts)] == ids and max(map(len, parts)) <= longest
    if max(sizes) > longest:
        return
    assert {*accumulate(map(len, parts))} <= {*ends}
    fewest = partition(sizes, longest)
    assert len(parts) <= max(wanted, fewest)
    shorter = max(map(len, parts)) - 1
    assert shorter < max(sizes) or partition(sizes, shorter) > max(wanted, fewest)


def partition(sizes: list[int], limit: int) -> int:
    """The fewest groups of neighbours with at most `limit` in sum, by trying every place for a border."""
    fewest = [0]
    for end in range(1, len(sizes) + 1):
        fewest.append(1 + min(fewest[start] for start in range(end) if sum(sizes[start:end]) <= limit))
    return fewest[-1]


TEXT = (
    'ada lives in oslo. "the code of lamp is 109." is it? yes\n\nthe price is 3.14 or so! rosa likes rice. '
    "the moon is far away from the sea and nobody has ever been there but twelve"
)


@pytest.mark.parametrize("longest", [5, 12, 24, 40, 64])
def test_a_text_is_cut_where_its_sentences_end(longest: int) -> None:
    tokenizer = load_model("lab-reader").tokenizer()
    parts = cut_text(tokenizer, TEXT, longest)
    assert [*chain(*parts)] == tokenizer(TEXT, add_special_tokens=False).input_ids
    sentences = re.split(r"(?<=oslo\.)|(?<=109\.\")|(?<=is it\?)|(?<=yes\n)|(?<=yes\n\n)|(?<=so!)|(?<=rice\.)", TEXT)
    fits = max(len(tokenizer(one, add_special_tokens=False).input_ids) for one in sentences) <= longest
    borders = {*accumulate(map(len, sentences))}
    found = [*accumulate(len(tokenizer.decode(part)) for part in parts)]
    assert found[-1] == len(TEXT)
    assert {*found} <= borders if fits else not {*found} <= borders
    assert cut_text(tokenizer, "", longest) == []


def test_a_tokenizer_that_does_not_know_where_its_tokens_lie_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(UserError, match="Slow does not say where"):
        cut_text(Slow(), TEXT, 8)


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
