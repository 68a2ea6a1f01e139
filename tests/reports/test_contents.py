"""Notes below tables that depend on the runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.contents import shared_processor
from reports.sweep_data import MethodData


def method(*shares: float | None, gpu: str | None = None) -> MethodData:
    """Finished runs of 100 s with these shares of a processor."""
    runs: list[dict[str, Any]] = [
        {
            **dict.fromkeys(("train_seconds", "generate_seconds", "evaluate_seconds", "overhead_seconds"), 25.0),
            "processor_seconds": None if share is None else 100 * share,
            "gpu": gpu,
        }
        for share in shares
    ]
    return MethodData("a", None, runs, list(range(len(runs))), np.ones((len(runs), 1)), [], [], [], len(runs))


def test_times_on_a_busy_machine_are_said_to_be_too_long() -> None:
    said = shared_processor([method(0.99, 0.4), method(0.62)])
    assert "2 of the 3 final runs" in said and "40% to 62%" in said and "too long" in said


def test_an_idle_machine_a_gpu_and_what_was_not_metered_need_no_word() -> None:
    assert shared_processor([method(0.98, 1.9), method(0.2, gpu="H100"), method(None)]) == ""
