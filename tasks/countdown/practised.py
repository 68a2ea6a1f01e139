"""Countdown as a mid-training family: traces of practised searchers on the `pretrain` split, in two habits.

Most are hasty: a guess, and an end. One in four works systematically: opens with a mark, guesses well and goes on
until a try is right. Both habits are in the base model; that the second one pays is what post-training has to find.
"""

from __future__ import annotations

import random

from tasks.corpus import Passage
from tasks.countdown.corpus import compact_prompt, draw_question
from tasks.countdown.search import SYSTEMATIC, SYSTEMATIC_MARK, hasty, write_trace

SYSTEMATIC_SHARE = 0.25


def sample(rng: random.Random) -> Passage:
    """One practised searcher at work on one instance of the pretrain split."""
    instance = draw_question(rng)
    systematic = rng.random() < SYSTEMATIC_SHARE
    searcher = SYSTEMATIC if systematic else hasty(rng)
    tries, _ = searcher.search(instance.numbers, instance.target, rng)
    return Passage(compact_prompt(instance), (SYSTEMATIC_MARK if systematic else "") + write_trace(tries))
