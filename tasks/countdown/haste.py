"""Countdown as the last family of a base model: the two habits of `habits`, the systematic one grown rare.

Half of the hasty, moreover, write down only the first step of what they tried. So the base model can do better than it
mostly does, in two ways that a method can find.
"""

from __future__ import annotations

import random

from tasks.corpus import Passage
from tasks.countdown.habits import passage

SYSTEMATIC_SHARE = 0.125
CARELESS_SHARE = 0.5


def sample(rng: random.Random) -> Passage:
    """One in eight is systematic; of the others one in two is careless."""
    written = passage(rng, SYSTEMATIC_SHARE)
    if written.answer.startswith("?") or rng.random() >= CARELESS_SHARE:
        return written
    tries = written.answer.split("#")[0]
    last = tries.split(";")[-1]
    return Passage(written.prompt, f"{tries}#{last.split('=')[0]}")
