"""How a sweep shows itself: a live table on a terminal, a line for each finished run anywhere else."""

from __future__ import annotations

import statistics
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from sweeps.arm_run import ArmRun, Ended

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


class Progress(Protocol):
    """What a controller tells its audience."""

    def __enter__(self) -> Progress: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def ended(self, one: Ended) -> None:
        """A run or trial was settled."""
        ...

    def show(self, arms: list[ArmRun]) -> None:
        """Where every arm stands now."""
        ...


def progress_for(console: Console) -> Progress:
    """The live table on a terminal, plain lines elsewhere."""
    return LiveTable(console) if console.is_terminal else PlainLines(console)


class PlainLines:
    """One line a finished run: method, what, accuracy, seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def ended(self, one: Ended) -> None:
        self._console.print(sentence(one), soft_wrap=True, highlight=False, markup=False)

    def show(self, arms: list[ArmRun]) -> None:
        return None


class LiveTable:
    """One row an arm, redrawn in place; failures stay above it."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._console = console
        self._live = Live(console=console, refresh_per_second=2, transient=False)
        self._started = time.monotonic()

    def __enter__(self) -> LiveTable:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def ended(self, one: Ended) -> None:
        if one.state == "failed":
            self._console.print(sentence(one), soft_wrap=True, highlight=False, markup=False)

    def show(self, arms: list[ArmRun]) -> None:
        self._live.update(progress_table(arms, time.monotonic() - self._started))


def progress_table(arms: list[ArmRun], elapsed: float) -> Table:
    """Tuned, best on val, final runs, state and the work that is left, by arm."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left", caption_justify="left")
    for column in ("method", "tuned", "best val", "final", "running", "state", "left"):
        table.add_column(column, justify="left" if column in ("method", "state") else "right")
    for arm in arms:
        left = seconds_left(arm)
        table.add_row(
            arm.arm.label,
            f"{arm.told}/{arm.arm.trials}" if arm.arm.trials else "-",
            "-" if arm.best is None else f"{100 * arm.best:.1f}%",
            f"{arm.finals_done}/{len(arm.finals) or '?'}",
            str(arm.busy or "-"),
            arm.phase,
            "-" if left == 0 else "?" if left is None else clock(left),
        )
    known = [seconds_left(arm) for arm in arms]
    total = "unknown" if None in known else clock(sum(left for left in known if left is not None))
    table.caption = f"{clock(elapsed)} gone; work left in run time, before it is spread over the slots: {total}"
    return table


def seconds_left(arm: ArmRun) -> float | None:
    """Run time still ahead of an arm by the median of its own finished runs; None before the first."""
    if arm.phase in ("done", "failed"):
        return 0.0
    if not arm.seconds:
        return None
    return statistics.median(arm.seconds) * arm.runs_left


def sentence(one: Ended) -> str:
    """`grpo  trial 2/4  51.0%  38.2 s`."""
    score = "" if one.accuracy is None else f"  {100 * one.accuracy:.1f}%"
    seconds = "" if one.seconds is None else f"  {one.seconds:.1f} s"
    state = "" if one.state == "done" else f"  {one.state}"
    return f"{one.method}  {one.what}{state}{score}{seconds}" + (f"  {one.why}" if one.why else "")


def clock(seconds: float) -> str:
    """`1:02:03`, or `2:03` below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
