"""Which documents an update is about, how each is cut, and which of its questions are asked.

All of it follows from the update's number and from how much of the budget is spent. In the first phase a generator is
given documents that fit into one chunk, as far as there are any, uncut; then all of them, each in a drawn number of
chunks. Every document has its turn once a pass. While lengths grow, none is longer than a limit that rises along a line
from the shortest document to the longest (a curriculum: Bengio et al. 2009), and every update draws anew among them.

After the first phase up to `joined` documents may be taken as one: their chunks stand side by side, and the questions
of each are asked of all. An update reads no more for it, and has adapters of many more chunks. How many is drawn for
every update. Two documents that give different answers to one question are not joined.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from methods.generators.chunks import drawn_count
from methods.objectives.document_questions import Asked

if TYPE_CHECKING:
    from harness.context import StageContext


_DRAWN = 320  # documents over a budget: their mean is within a few percent


def typical_chunks(
    lengths: Sequence[int],
    rows: int,
    longest: int,
    most_chunks: int = 1,
    shortest: int = 1,
    alone: float = 0.0,
    growing: float = 0.0,
) -> list[int]:
    """Tokens of each chunk of an update of `rows` documents that is like the mean over a budget. `lengths` are those of
    some training documents, `longest` the tokens of a text in one chunk; the others are as in `DocumentBatches`."""
    rng, ordered, chunks = random.Random(0), sorted(lengths), []
    short = [length for length in ordered if length <= longest] or ordered
    updates = math.ceil(_DRAWN / rows)  # of one alone the chunks would be those of a few documents
    for number in range(updates * rows):
        spent = (number + 0.5) / (updates * rows)
        pool = short if spent < alone else ordered
        if spent < growing:
            limit = pool[0] + spent / growing * (pool[-1] - pool[0])
            pool = pool[: max(1, bisect_right(pool, limit))]
        length = rng.choice(pool)
        parts = max(
            drawn_count(rng, 1 if spent < alone else most_chunks, length, shortest), math.ceil(length / longest)
        )
        chunks += [math.ceil(length / parts)] * parts
    return sorted(chunks)[updates // 2 :: updates]


class DocumentBatches:
    """Draws `rows` documents an update from `asked`, with at most `questions` of each."""

    def __init__(
        self,
        stage: StageContext,
        asked: Sequence[Asked],
        rows: int,
        questions: int,
        alone: float = 0.0,
        most_chunks: int = 1,
        shortest: int = 1,
        growing: float = 0.0,
        joined: int = 1,
    ) -> None:
        """The first phase lasts until `alone` of the stage's budget is spent, lengths grow until `growing` of it."""
        self.joined = joined
        self.stage, self.asked, self.rows, self.questions = stage, asked, rows, questions
        self.alone, self.most_chunks, self.shortest, self.growing = alone, most_chunks, shortest, growing
        self._reads = hasattr(stage.policy.model.hypernetwork, "chunks")

    def batch(self, number: int) -> dict[str, Any]:
        """Lists with one entry a document: `texts` or `chunks`, which are read, `questions`, and beside chunks whether
        this is the first phase (`alone`)."""
        spent = self.stage.spent()
        first, grown = spent < self.alone, spent >= self.growing
        pool = self._short if first else range(len(self.asked))
        places = self._turn(pool, number) if grown else self._drawn(len(pool), spent / self.growing, number)
        read = [self._read[place] for place in places]
        drawn = [random.Random(self.stage.seed("document", number, turn)) for turn in range(len(places))]
        asked = [
            rng.sample(self.asked[place].questions, min(self.questions, len(self.asked[place].questions)))
            for rng, place in zip(drawn, places, strict=True)
        ]
        if not self._reads:
            return {"texts": [self.asked[place].text for place in read], "questions": asked}
        most = 1 if first else self.most_chunks
        chunks = [self._cut(place, rng, most) for rng, place in zip(drawn, read, strict=True)]
        if first or self.joined == 1:
            return {"chunks": chunks, "questions": asked, "alone": [first] * len(chunks)}
        together = self._groups(places, random.Random(self.stage.seed("joined", number)))
        return {
            "chunks": [[chunk for at in group for chunk in chunks[at]] for group in together],
            "questions": [[question for at in group for question in asked[at]] for group in together],
            "alone": [False] * len(together),
        }

    def _groups(self, places: Sequence[int], rng: random.Random) -> list[list[int]]:
        """The batch's documents in groups of about one drawn size, each in the smallest group that it does not
        contradict, or in one of its own; as much alike as can be, because what is shorter is padded."""
        groups: list[list[int]] = [[] for _ in range(math.ceil(len(places) / rng.randint(1, self.joined)))]
        told: list[dict[tuple[int, ...], list[int]]] = [{} for _ in groups]
        for at, place in enumerate(places):
            says = {tuple(one.prompt): one.answer for one in self.asked[place].questions}
            agreed = [
                number
                for number, known in enumerate(told)
                if all(known.get(prompt, answer) == answer for prompt, answer in says.items())
            ]
            if agreed:
                chosen = min(agreed, key=lambda number: len(groups[number]))
            else:
                chosen = len(groups)
                groups.append([])
                told.append({})
            groups[chosen].append(at)
            told[chosen] |= says
        return groups

    def _turn(self, pool: Sequence[int], number: int) -> list[int]:
        """The next documents of a walk through `pool` in an order that is drawn anew every pass."""
        count = min(self.rows, len(pool))
        chosen, order = [], {}
        for position in range(number * count, (number + 1) * count):
            turn, place = divmod(position, len(pool))
            if turn not in order:
                order[turn] = random.Random(self.stage.seed("data", turn)).sample(range(len(pool)), len(pool))
            chosen.append(pool[order[turn][place]])
        return chosen

    def _drawn(self, pool: int, share: float, number: int) -> list[int]:
        """Some of the `pool` shortest documents, none beyond `share` of the way from shortest to longest of them."""
        ordered, lengths = self._by_length[:pool], self._lengths
        shortest, longest = lengths[ordered[0]], lengths[ordered[-1]]
        limit = shortest + share * (longest - shortest)
        count = min(self.rows, pool)
        allowed = max(count, bisect_right(ordered, limit, key=lambda place: lengths[place]))
        return random.Random(self.stage.seed("data", "growing", number)).sample(ordered[:allowed], count)

    def _cut(self, place: int, rng: random.Random, most: int) -> list[list[int]]:
        model = self.stage.policy.model
        wanted = drawn_count(rng, most, self._lengths[place], self.shortest)
        chunks: list[list[int]] = model.hypernetwork.chunks(model.tokenizer, self.asked[place].text, wanted)
        return chunks

    @cached_property
    def _lengths(self) -> Sequence[int]:
        """Tokens of every document."""
        texts = [one.text for one in self.asked]
        tokenizer = self.stage.policy.model.tokenizer
        return [len(ids) for ids in tokenizer(texts, add_special_tokens=False, verbose=False).input_ids]

    @cached_property
    def _by_length(self) -> Sequence[int]:
        return sorted(range(len(self.asked)), key=self._lengths.__getitem__)

    @cached_property
    def _short(self) -> Sequence[int]:
        """The documents of one chunk; all where there is none."""
        every = range(len(self.asked))
        if not self._reads:
            return every
        model = self.stage.policy.model
        most = model.hypernetwork.chunk_tokens(model.tokenizer)
        return [place for place in every if self._lengths[place] <= most] or every

    @cached_property
    def _read(self) -> Sequence[int]:
        """Which document the generator is given for each: its own, or under the control `shuffled` another."""
        order = list(range(len(self.asked)))
        if self.stage.run.spec.control != "shuffled":
            return order
        mixed = random.Random(self.stage.seed("control")).sample(order, len(order))
        return [other for _, other in sorted(zip(mixed, mixed[1:] + mixed[:1], strict=True))]
