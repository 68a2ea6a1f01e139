"""Filler: short generated stories, scored by likelihood; a retention probe that no change of answer format can blur.

An item is a story and the same story with the last mention of a person given to a stranger. Right is to find the
true story likelier than the other. `nats_per_token` is the negative log-likelihood of the true story per token, the
logarithm of its perplexity. Val and test stories are among those that no pre-training passage repeats.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from harness.contracts import Grade, Item, Likelihood, Offer, Prompt
from harness.registry import task
from tasks.corpus import held_out
from tasks.corpus.filler import PEOPLE, story
from tasks.pool import Pool, split_of

_HELD_SHARES = {"test": 0.6, "val": 0.4}


@task("filler", version=1)
class Filler:
    """Tell a short story from the same story with one name changed, by likelihood."""

    name: str
    version: int
    offers: frozenset[Offer] = frozenset()
    max_new_tokens = 64
    stop: str | None = None

    def __init__(self) -> None:
        self._pool = Pool(self.name, self.version, "stories", _draw, _split)

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first `n` stories of a split."""
        return self._pool.items(split, n)

    def prompt(self, item: Item) -> Prompt:
        """The beginning of the story, up to the name that was changed."""
        return str(item.data["story"])[: item.data["place"]]

    def continuations(self, item: Item) -> Sequence[tuple[str, str]]:
        """The story as it is, and with the name changed."""
        return [("", item.data["story"]), ("", item.data["foil"])]

    def judge(self, item: Item, likelihoods: Sequence[Likelihood]) -> Grade:
        """Right if the true story is likelier."""
        true, foil = likelihoods
        right = true.logprob > foil.logprob
        measures = {"nats_per_token": -true.logprob / true.tokens}
        return Grade(right, float(right), True, "ok" if right else "foil_likelier", None, measures)

    def grade(self, item: Item, completion: str) -> Grade:
        """A written continuation is right if it goes on exactly as the story does."""
        rest = str(item.data["story"])[item.data["place"] :]
        right = completion.strip() == rest.strip()
        reason = "ok" if right else "empty" if not completion.strip() else "other_text"
        return Grade(right, float(right), bool(completion.strip()), reason, completion.strip()[:200])

    def demonstration(self, item: Item) -> str:
        """How the story goes on."""
        return str(item.data["story"])[item.data["place"] :]


def _draw(rng: random.Random) -> tuple[str, dict[str, Any]] | None:
    text = story(rng)
    told = [(text.rfind(name), name) for name in PEOPLE if text.count(name) > 1]
    if not told:
        return None
    place, name = max(told)
    stranger = rng.choice([other for other in PEOPLE if other not in text])
    foil = text[:place] + stranger + text[place + len(name) :]
    return text, {"story": text, "foil": foil, "place": place}


def _split(key: str, data: dict[str, Any]) -> str:
    return split_of("filler split", key, _HELD_SHARES) if held_out("filler:" + key) else "train"
