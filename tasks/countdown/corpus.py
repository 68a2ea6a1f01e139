"""Countdown as a pre-training family: traces of a crowd of searchers on the `pretrain` split of levels L0 to L4."""

from __future__ import annotations

import random

from tasks.corpus import Passage
from tasks.countdown.instances import Instance, draw
from tasks.countdown.levels import LEVELS
from tasks.countdown.search import crowd, write_trace

WEIGHTS = {"L0": 0.05, "L1": 0.15, "L2": 0.5, "L3": 0.15, "L4": 0.15}
_NAMES, _SHARES = list(WEIGHTS), list(WEIGHTS.values())


def compact_prompt(instance: Instance) -> str:
    """`3,5,7=22>`: the prompt of style `compact`."""
    return f"{','.join(map(str, instance.numbers))}={instance.target}>"


def draw_question(rng: random.Random) -> Instance:
    """An instance of the pretrain split, the levels in the shares of `WEIGHTS`."""
    return draw(LEVELS[rng.choices(_NAMES, _SHARES)[0]], "pretrain", rng)


def sample(rng: random.Random) -> Passage:
    """One searcher at work on one instance of the pretrain split."""
    instance = draw_question(rng)
    tries, _ = crowd(rng).search(instance.numbers, instance.target, rng)
    return Passage(compact_prompt(instance), write_trace(tries))
