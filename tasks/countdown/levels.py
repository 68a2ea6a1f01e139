"""Countdown's difficulty ladder L0 to L6; L5 is the setting of the papers (`paper` is its other name)."""

from __future__ import annotations

from typing import NamedTuple


class Level(NamedTuple):
    """`counts` numbers from 1 to `high` (inclusive), a target in [`target_low`, `target_high`]."""

    name: str
    counts: tuple[int, ...]
    high: int
    target_low: int
    target_high: int
    style: str
    max_new_tokens: dict[str, int]


def _level(name: str, counts: tuple[int, ...], high: int, target: tuple[int, int], style: str, compact: int) -> Level:
    return Level(name, counts, high, *target, style, {"compact": compact, "paper": 1024, "chat": 1024})


LEVELS = {
    level.name: level
    for level in (
        _level("L0", (2,), 9, (1, 100), "compact", 64),
        _level("L1", (3,), 9, (1, 100), "compact", 112),
        _level("L2", (3,), 20, (1, 100), "compact", 112),
        _level("L3", (3,), 50, (10, 100), "compact", 112),
        _level("L4", (3, 4), 20, (10, 100), "compact", 160),
        _level("L5", (3, 4), 99, (10, 100), "paper", 160),
        _level("L6", (5, 6), 99, (100, 999), "paper", 256),
    )
}
ALIASES = {"paper": "L5"}
