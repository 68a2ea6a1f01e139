"""Word problems as a pre-training family: one to three steps, numbers to 20, values to 100, answered by worked steps.

The chains are those of the task's level W1; `sample` draws from their `pretrain` split and `probes` from `val`, so no
passage has the values and steps of a problem that any level of the task trains on or tests with.
"""

from __future__ import annotations

import random

from tasks.corpus import Passage
from tasks.pool import split_of
from tasks.words.chain import Range, draw
from tasks.words.wording import ask, equations_of, tell, worked

RANGE = Range(steps=(1, 3), start=20, operand=20, limit=100)
ASIDES = (0.25,)


def sample(rng: random.Random) -> Passage:
    """A problem to learn from."""
    return _passage(rng, "pretrain")


def probes(n: int) -> list[Passage]:
    """`n` problems whose values and steps no sample has; always the same ones."""
    rng = random.Random("words probes")
    return [_passage(rng, "val") for _ in range(n)]


def correct(probe: Passage, completion: str) -> bool:
    """Whether the right number, and nothing else, follows the last `####`."""
    _, mark, number = completion.rpartition("####")
    return bool(mark) and number.strip() == probe.answer.rpartition("####")[2].strip()


def _passage(rng: random.Random, split: str) -> Passage:
    chain = draw(rng, RANGE)
    while split_of("words", chain.key) != split:
        chain = draw(rng, RANGE)
    return Passage(ask(tell(rng, chain, ASIDES)), worked(equations_of(chain), chain.values[-1]))
