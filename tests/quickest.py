"""How long something takes: the quickest of three calls, for any one may wait for the collector or for a neighbour."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def quickest(call: Callable[[], Result]) -> tuple[Result, float]:
    """The result of the last call, and the seconds of the quickest."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - started)
    return result, min(seconds)
