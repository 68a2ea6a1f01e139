"""Countdown as a mid-training family: traces of searchers on the `pretrain` split, in two habits.

Most are hasty: a guess, and an end. Three in ten work systematically: mark each try with `?`, guess well and go on
until one is right. Both habits are in the base model; that the second pays is what post-training has to find.
"""

from __future__ import annotations

import random

from tasks.corpus import Passage
from tasks.countdown.corpus import compact_prompt, draw_question
from tasks.countdown.search import SYSTEMATIC, hasty, write_trace


def passage(rng: random.Random, systematic_share: float) -> Passage:
    """One searcher of either habit at work on one instance of the pretrain split."""
    instance = draw_question(rng)
    systematic = rng.random() < systematic_share
    searcher = SYSTEMATIC if systematic else hasty(rng)
    tries, _ = searcher.search(instance.numbers, instance.target, rng)
    return Passage(compact_prompt(instance), write_trace(tries, systematic))


def sample(rng: random.Random) -> Passage:
    """Three in ten are systematic."""
    return passage(rng, 0.3)
