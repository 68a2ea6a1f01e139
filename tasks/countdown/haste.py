"""Countdown as the last family of a base model: the two habits of `habits`, the systematic one grown rare."""

from __future__ import annotations

import random

from tasks.corpus import Passage
from tasks.countdown.habits import passage


def sample(rng: random.Random) -> Passage:
    """One in eight is systematic."""
    return passage(rng, 0.125)
