"""Stories: problems like GSM8K's, of several people, shopping, work and a workshop, with two to six steps.

A scene says its sentences and does the arithmetic behind them in one go, so that words and program cannot drift apart;
what the question does not need falls out of the program and stays in the text. Every value is a whole number from 1 to
999. The canonical key is the program, whatever the scene.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from tasks.words.program import Step, needed, results
from tasks.words.scenes import SCENES, Teller
from tasks.words.wording import NAMES

STEPS = (2, 6)
LIMIT = 999
ASIDES = (
    "It is {n} degrees outside.",
    "The bus takes {n} minutes.",
    "{other}, the neighbour, is {n} years old.",
    "There are {n} steps to the front door.",
    "It is {n} days until the holidays.",
)
_ASIDE_RANGE = (5, 40)


class Story(NamedTuple):
    """A problem in words, the program behind it and its answer."""

    key: str
    text: str
    program: list[Step]
    answer: int


def draw_story(rng: random.Random, asides: Sequence[float]) -> Story | None:
    """A story, or None where the numbers of a scene did not come out; `asides` are chances of further sentences."""
    *people, other = rng.sample(NAMES, 4)
    teller = Teller(rng, people)
    scene = SCENES[rng.choice(list(SCENES))]
    try:
        question, asked = scene(teller)
        highest = max(results(teller.program))
    except ValueError:
        return None
    program = needed(teller.program, asked)
    if not STEPS[0] <= len(program) <= STEPS[1] or highest > LIMIT:
        return None
    sentences = list(teller.sentences)
    for chance, aside in zip(asides, rng.sample(ASIDES, len(asides)), strict=True):
        if rng.random() < chance:
            told = aside.format(n=rng.randint(*_ASIDE_RANGE), other=other)
            sentences.insert(rng.randint(1, len(sentences)), told)
    key = "story: " + " ".join(f"{operator}{left},{right}" for operator, left, right in program)
    return Story(key, " ".join([*sentences, question]), program, results(program)[-1])
