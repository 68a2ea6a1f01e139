"""The time of slots, divided: every second has one name, and they add up to the whole."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.sweep_overhead import charged_elsewhere, divided, preparation
from harness.events import read_events
from tests.conftest import make_spec, run_to_end


def ran(start: float, end: float, work: float) -> Any:
    meters = SimpleNamespace(device_seconds=work * 3 / 4, evaluate_seconds=work / 4)
    return SimpleNamespace(started_at=start, finished_at=end, meters=meters)


def test_two_slots_are_divided_into_what_they_did() -> None:
    """One slot runs 2 to 6 and 7 to 12, the other 2 to 8; from 8 on nothing is left to start. The second run is charged
    for a second that another one had worked, and had half a second of data to prepare."""
    runs = [ran(2, 6, 3), ran(2, 8, 6), ran(7, 12, 4)]
    parts = divided(runs, began=0, ended=15, slots=2, elsewhere=1, preparing=0.5)
    assert parts == {
        "work": 12,
        "preparing": 0.5,
        "inside runs": 2.5,
        "between runs": 1,
        "before and after": 10,
        "tail": 4,
    }
    assert sum(parts.values()) == pytest.approx(2 * 15)


def test_answers_of_another_run_are_charged_and_not_worked(tmp_path: Path) -> None:
    first, second = (run_to_end(make_spec("dpo", learning_rate=rate), tmp_path) for rate in (1e-4, 2e-4))
    assert charged_elsewhere(first) == 0.0
    updates = (one["meters"] for one in read_events(second.events) if one["kind"] == "metrics")
    sampled = next(updates)["generate_seconds"]
    assert 0.5 * sampled < charged_elsewhere(second) <= sampled * 1.5
    for one in (first, second):
        assert 0.0 < preparation(one) < one.read_result().meters.overhead_seconds
