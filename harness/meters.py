"""Clocks, counters and the budget of a run: kept by the harness, only reported to by methods.

Time is charged to exactly one of train, generate, evaluate and overhead: `clock("generate")` inside `clock("train")`
moves the seconds over. What the process had of the processor in that time is metered beside it: much less than the
clock says means that others used the machine. On a GPU the device is synchronised before a clock is read. Operations
are counted as 2N a token forward, and 4N + 2T a token in training, N the parameters used and T the trainable ones (6N
when all are): attention's quadratic term is left out, for every method alike.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from harness.record import Meters
from harness.spec import Budget

Phase = Literal["train", "generate", "evaluate", "overhead"]


class MeterBank:
    """The live meters of a run or stage. Seconds count once for each of `devices` that a run holds; what several
    processes had of their processors is then not known."""

    def __init__(self, start: Meters | None = None, devices: int = 1) -> None:
        self.values: dict[str, float] = (start or Meters(processor_seconds=0.0)).model_dump(exclude_none=True)
        self._devices = devices
        if devices > 1:
            self.values.pop("processor_seconds", None)
        self._phases: list[Phase] = []
        self._since, self._processor = time.perf_counter(), time.process_time()

    @property
    def phase(self) -> Phase:
        """Whose time it is now."""
        return self._phases[-1] if self._phases else "overhead"

    @contextmanager
    def clock(self, phase: Phase) -> Iterator[None]:
        """Charge the time inside to `phase`."""
        self._tick()
        self._phases.append(phase)
        try:
            yield
        finally:
            self._tick()
            self._phases.pop()

    def count(self, **amounts: float) -> None:
        """Add to counters: generated_tokens, prompt_tokens, trained_tokens, rollouts, flops, steps."""
        for name, amount in amounts.items():
            self.values[name] += amount

    def charge(self, meters: Meters) -> None:
        """Add what was spent elsewhere for this; where its processor time is not known, that of all is not either."""
        amounts = meters.model_dump(exclude_none=True)
        if "processor_seconds" not in amounts or "processor_seconds" not in self.values:
            amounts.pop("processor_seconds", None)
            self.values.pop("processor_seconds", None)
        self.count(**amounts)

    def read(self) -> Meters:
        """The meters now."""
        self._tick()
        counts = {"generated_tokens", "prompt_tokens", "trained_tokens", "rollouts", "steps"}
        return Meters(**{name: int(value) if name in counts else value for name, value in self.values.items()})

    def _tick(self) -> None:
        import torch

        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.synchronize()
        now, processor = time.perf_counter(), time.process_time()
        self.values[f"{self.phase}_seconds"] += self._devices * (now - self._since)
        if "processor_seconds" in self.values:
            self.values["processor_seconds"] += processor - self._processor
        self._since, self._processor = now, processor


def spent(budget: Budget, meters: Meters) -> tuple[float, str | None]:
    """How much of the budget is used, from 0 to 1 and beyond, and which limit is nearest (None without limits)."""
    share, nearest = 0.0, None
    for name, limit in budget.limits().items():
        used = float(getattr(meters, name))
        part = used / limit if limit > 0 else float("inf")
        if part > share or nearest is None:
            share, nearest = part, name
    return share, nearest
