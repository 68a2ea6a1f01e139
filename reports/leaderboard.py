"""The leaderboard as lines of a terminal: what a sweep prints when it ends."""

from __future__ import annotations

from pathlib import Path

from reports.comparison import compare
from reports.contents import leaderboard
from reports.headline import headline
from reports.sweep_data import read_sweep_data
from reports.verdict import verdict


def leaderboard_text(database: Path, sweep: str, width: int = 120) -> str:
    """Headline, table and verdict of a sweep, no line of the table wider than `width` where three columns fit."""
    data = read_sweep_data(database, sweep)
    comparison = compare(data)
    lines = [headline(data)]
    if comparison.standings:
        lines += leaderboard(comparison).lines(width)
    return "\n".join([*lines, verdict(comparison)[0]])
