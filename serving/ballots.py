"""Pairs of answers whose authors are hidden, and what people said of them.

Two models are drawn, their order too, and asked the same with the same settings and seed. Their answers are kept here,
so that a vote is about what the models wrote. A pair is voted on once, when both answers are whole; the vote is on the
disk before its names are told.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from harness.errors import UserError, unknown
from harness.preference_record import Asked, Candidate, Choice, Preference, append_preference
from harness.spec import ModelReference
from serving.questions import Question
from serving.served import Served
from serving.upstream import Piece, UpstreamError

Side = Literal["a", "b"]
Answer = Callable[[Served, Question, Asked], Iterator[Piece]]
_KEPT = 1000
"""Pairs that are open at a time; the oldest are forgotten."""


class Conflict(UserError):
    """What was asked for cannot be now, though it is no mistake in itself."""


@dataclass
class Pair:
    """Two models in the order of their draw."""

    vote: str
    question: Question
    how: Asked
    models: dict[Side, Served]
    answers: dict[Side, Candidate] = field(default_factory=dict)
    begun: set[Side] = field(default_factory=set)
    voted: bool = False


class Ballots:
    """The pairs of one server, and the file of its votes."""

    def __init__(
        self, served: Sequence[Served], answer: Answer, file: Path, base: ModelReference, engine: str, page: str
    ) -> None:
        self.file = file
        self.count = 0
        """Votes so far."""
        self._served = {one.name: one for one in served}
        self._answer = answer
        self._about = {"server": file.stem, "base": base, "engine": engine, "page": page}
        self._pairs: dict[str, Pair] = {}
        self._lock = threading.Lock()

    def draw(self, question: Question, how: Asked, among: Sequence[str] = ()) -> Pair:
        """A new pair of the models named in `among`, or of all."""
        for name in among:
            if name not in self._served:
                raise unknown("model served here", name, self._served)
        names = list(dict.fromkeys(among)) or list(self._served)
        if len(names) < 2:
            raise UserError("A blind vote is between two models: choose two or more.")
        a, b = random.SystemRandom().sample(names, 2)
        pair = Pair(uuid.uuid4().hex, question, how, {"a": self._served[a], "b": self._served[b]})
        with self._lock:
            self._pairs[pair.vote] = pair
            while len(self._pairs) > _KEPT:
                self._pairs.pop(next(iter(self._pairs)))
        return pair

    def answer(self, vote: str, side: Side) -> Iterator[Piece]:
        """The answer of one side of a pair, as it is written; only once, unless it was broken off."""
        pair, said, whole = self._pair(vote), "", False
        model = pair.models[side]
        with self._lock:
            if side in pair.begun:
                raise Conflict(f"Answer {side.upper()} of this pair has been given already.")
            pair.begun.add(side)
        try:
            for piece in self._answer(model, pair.question, pair.how):
                said += piece.text
                if piece.truncated is not None:
                    answer = Candidate(
                        name=model.name,
                        run_id=model.run_id,
                        completion=said,
                        tokens=piece.tokens,
                        truncated=piece.truncated,
                    )
                    with self._lock:
                        pair.answers[side] = answer
                    whole = True
                yield piece
        except UpstreamError as error:  # which may speak of the model by its name
            raise UpstreamError(str(error).replace(model.name, "this model"), error.status) from error
        finally:
            if not whole:
                with self._lock:
                    pair.begun.discard(side)

    def vote(self, vote: str, choice: Choice) -> Preference:
        """Write a vote down; from then on it is known who wrote what."""
        pair = self._pair(vote)
        with self._lock:
            if pair.voted:
                raise Conflict("This pair has been voted on already.")
            if len(pair.answers) < 2:
                raise Conflict("Both answers must be whole before they are voted on.")
            prompt, topic, item = pair.question.prompt, pair.question.topic, pair.question.item
            preference = Preference(
                vote=vote,
                at=round(time.time(), 3),
                prompt=prompt,
                task=None if topic is None or item is None else topic.component,
                item_id=None if item is None else item.id,
                sampling=pair.how,
                a=pair.answers["a"],
                b=pair.answers["b"],
                choice=choice,
                **self._about,
            )
            append_preference(self.file, preference)
            pair.voted = True
            self.count += 1
        return preference

    def verdicts(self, vote: str) -> dict[Side, str | None]:
        """What the task's grader says of both answers."""
        pair = self._pair(vote)
        return {side: pair.question.verdict(one.completion) for side, one in pair.answers.items()}

    def _pair(self, vote: str) -> Pair:
        pair = self._pairs.get(vote)
        if pair is None:
            raise LookupError("There is no such pair here: it was drawn by another server, or too long ago; ask again.")
        return pair
