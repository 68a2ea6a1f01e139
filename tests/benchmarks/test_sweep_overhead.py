"""The time of slots, divided: every second has one name, and they add up to the whole."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.sweep_overhead import divided


def ran(start: float, end: float, work: float) -> Any:
    meters = SimpleNamespace(train_seconds=work / 2, generate_seconds=work / 4, evaluate_seconds=work / 4)
    return SimpleNamespace(started_at=start, finished_at=end, meters=meters)


def test_two_slots_are_divided_into_what_they_did() -> None:
    """One slot runs 2 to 6 and 7 to 12, the other 2 to 8; from 8 on nothing is left to start."""
    parts = divided([ran(2, 6, 3), ran(2, 8, 5), ran(7, 12, 4)], began=0, ended=15, slots=2)
    assert parts == {
        "work": 12,
        "inside runs": 3,
        "between runs": 1,
        "before and after": 10,
        "tail": 4,
    }
    assert sum(parts.values()) == pytest.approx(2 * 15)
