"""The leaderboard as lines of a terminal: what a sweep prints when it ends."""

from __future__ import annotations

from reports.comparison import Comparison
from reports.contents import leaderboard
from reports.headline import headline
from reports.sweep_data import SweepData
from reports.verdict import verdict


def leaderboard_text(data: SweepData, comparison: Comparison, width: int = 120) -> str:
    """Headline, table and verdict of a sweep, no line of the table wider than `width` where three columns fit."""
    lines = [headline(data)]
    if comparison.standings:
        lines += leaderboard(comparison).lines(width)
    return "\n".join([*lines, verdict(comparison)[0]])
