"""Countdown instances and their split: which numbers belong to train, val, test or pre-training.

The split is a hash of the sorted multiset of numbers, so no two splits share a set of numbers, let alone an
instance. Instances are uniform over multisets, then over the targets these reach in the level's range.
"""

from __future__ import annotations

import hashlib
import random
from typing import NamedTuple

from tasks.countdown.levels import Level
from tasks.countdown.plan import random_plan, reachable

SPLITS = (("test", 0.25), ("val", 0.10), ("train", 0.30), ("pretrain", 0.35))
_ENUMERATED = 4  # up to this many numbers every reachable target is known; above, a random plan makes the target


class Instance(NamedTuple):
    """The numbers as shown to the model and the target they must make."""

    numbers: tuple[int, ...]
    target: int

    @property
    def key(self) -> str:
        """The canonical instance: order of the numbers does not count."""
        return f"{','.join(map(str, sorted(self.numbers)))}={self.target}"


def split_of(numbers: tuple[int, ...]) -> str:
    """The split of a multiset of numbers; stable over processes, machines and versions of Python."""
    digest = hashlib.sha256(("countdown:" + ",".join(map(str, sorted(numbers)))).encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64
    for name, share in SPLITS:
        point -= share
        if point < 0:
            return name
    return SPLITS[-1][0]


def draw(level: Level, split: str, rng: random.Random) -> Instance:
    """One solvable instance of `level` in `split`, by rejection."""
    while True:
        count = rng.choice(level.counts)
        numbers = tuple(rng.randint(1, level.high) for _ in range(count))
        if split_of(numbers) != split:
            continue
        if count <= _ENUMERATED:
            targets = reachable(tuple(sorted(numbers)), level.target_low, level.target_high)
            if targets:
                return Instance(numbers, rng.choice(sorted(targets)))
        else:
            value = random_plan(numbers, rng).value
            if level.target_low <= value <= level.target_high:
                return Instance(numbers, value)
