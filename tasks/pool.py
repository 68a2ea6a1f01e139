"""The items of a task, in one order: `Pool` draws those of a generated task, `Fixed` holds those of a file.

Candidate k of a split has its own random numbers, from (task, version, setting, split, k) and nothing else, so no item
depends on how many were asked for before. A candidate whose canonical key belongs to another split, or was there
already, is left out; equal keys are equal questions. Split shares are hashes of that key.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.contracts import Item
from harness.errors import UserError, unknown

SHARES = {"test": 0.25, "val": 0.10, "train": 0.30, "pretrain": 0.35}
"""Of canonical keys: `pretrain` is what a base model may have seen."""
SIZES = {"train": 2000, "val": 500, "test": 2000, "pretrain": 2000}
"""Items of a split of a generated task when none are asked for."""
_PATIENCE = 2000

Draw = Callable[[random.Random], tuple[str, dict[str, Any]] | None]
"""Draws a candidate: the canonical key that decides its split and identity, and the item's data. None is a miss."""


def split_of(task: str, key: str, shares: Mapping[str, float] = SHARES) -> str:
    """The split of a canonical key; stable over processes, machines and versions of Python."""
    point = int.from_bytes(hashlib.sha256(f"{task}:{key}".encode()).digest()[:8], "big") / 2**64
    for name, share in shares.items():
        point -= share
        if point < 0:
            return name
    return list(shares)[-1]


def content_id(*content: object) -> str:
    """16 hexadecimal digits of the SHA-256 of what makes a question."""
    return hashlib.sha256("\0".join(map(str, content)).encode()).hexdigest()[:16]


class Pool:
    """The items of a generated task in one `setting` (its level and whatever else decides its questions)."""

    def __init__(
        self,
        task: str,
        version: int,
        setting: str,
        draw: Draw,
        split: Callable[[str, dict[str, Any]], str] | None = None,
        sizes: Mapping[str, int] = SIZES,
    ) -> None:
        """`split(key, data)` says where a candidate belongs; by default the hash of its key does."""
        self.task, self.setting, self.draw, self.sizes = task, setting, draw, sizes
        self._prefix = f"{task}/{version}/{setting}"
        self._split = split or (lambda key, data: split_of(task, key))
        self._made: dict[str, list[Item]] = {}
        self._seen: dict[str, set[str]] = {}
        self._tried: dict[str, int] = {}

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first `n` items, or all that are found of a smaller train split.

        Raises UserError for an unknown split, or for more val or test items than are found.
        """
        if split not in self.sizes:
            raise unknown(f"split of {self.task}", split, self.sizes)
        wanted = self.sizes[split] if n is None else n
        made, seen = self._made.setdefault(split, []), self._seen.setdefault(split, set())
        missed = 0
        while len(made) < wanted:
            candidate = self._tried.get(split, 0)
            self._tried[split] = candidate + 1
            drawn = self.draw(random.Random(f"{self._prefix}/{split}/{candidate}"))
            missed += 1
            if drawn is not None and self._split(*drawn) == split:
                identity = content_id(self.task, drawn[0])
                if identity not in seen:
                    seen.add(identity)
                    made.append(Item(identity, split, drawn[1]))
                    missed = 0
            if missed > _PATIENCE:
                if n is None or split not in ("val", "test"):
                    break
                there = f"{self.task} {self.setting} has about {len(made)} {split} items"
                raise UserError(f"{there}, {n} were asked for: ask for fewer.")
        return made[:wanted]


class Fixed:
    """Items that are all there: those of a file. `splits` holds them in order."""

    def __init__(self, task: str, splits: Mapping[str, Sequence[Item]]) -> None:
        self.task, self.splits = task, splits

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first `n` items; UserError for an unknown split, or for more val or test items than there are."""
        if split not in self.splits:
            raise unknown(f"split of {self.task}", split, self.splits)
        found = self.splits[split]
        if n and not found and split in ("val", "test"):
            raise UserError(f"{self.task} has no {split} items in its data: add some, or score another split.")
        if split in ("val", "test") and n is not None and n > len(found):
            raise UserError(f"{self.task} has {len(found)} {split} items, {n} were asked for: ask for fewer.")
        return list(found[:n])
