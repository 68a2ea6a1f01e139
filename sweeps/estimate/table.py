"""Estimates as the terminal shows them: one row an arm, the sum in hours and money, and what does not fit where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sweeps.estimate.estimate import Estimate
from sweeps.estimate.record import Checked
from sweeps.file import Price
from sweeps.plan import SweepPlan
from sweeps.plan_table import megabytes
from sweeps.progress import clock

if TYPE_CHECKING:
    from rich.console import RenderableType


def estimate_table(
    plan: SweepPlan,
    estimates: Sequence[Estimate],
    price: Price | None,
    slots: int,
    free_bytes: int,
    devices: int = 1,
) -> Iterator[RenderableType]:
    """What to print, in order; a run has so many `devices`."""
    from rich.table import Table
    from rich.text import Text

    left = {arm.method: arm.runs_left for arm in plan.arms}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("a run of", "prompt", "generated", "trained", "flops", "time", "cost", "memory", "disk", "by"):
        table.add_column(column, justify="left" if column in ("a run of", "by") else "right")
    for one in estimates:
        table.add_row(*_row(one, price))
    yield table
    yield Text(_sum(estimates, left, price, slots, free_bytes, devices))
    for reason in dict.fromkeys(f"{one.method}: {reason}" for one in estimates for reason in one.unknown):
        yield Text(f"no estimate of {reason}")
    yield from (Text(line) for line in _fits(estimates))


def check_table(checked: Sequence[Checked]) -> Iterator[RenderableType]:
    """Estimated and taken, side by side."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("method", "figure", "estimated", "taken", "estimated / taken", "runs"):
        table.add_column(column, justify="left" if column in ("method", "figure") else "right")
    for one in checked:
        known = one.estimated is not None and one.taken > 0
        ratio = f"{(one.estimated or 0.0) / one.taken:.2f}" if known else "-"
        table.add_row(
            one.method, one.figure.replace("_", " "), _shown(one.figure, one.estimated), _shown(one.figure, one.taken),
            ratio, str(one.runs),
        )  # fmt: skip
    yield table


def count(number: float | None) -> str:
    """`103k`, `1.2e12`; `-` for what is not known."""
    if number is None:
        return "-"
    if number >= 1e12:
        return f"{number:.1e}"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"


def _row(one: Estimate, price: Price | None) -> tuple[str, ...]:
    work = one.work
    tokens = (work.prompt_tokens, work.generated_tokens, work.trained_tokens, work.flops) if work else (None,) * 4
    hours = None if one.seconds is None else one.seconds / 3600
    money = "-" if price is None or hours is None else f"{hours * price.per_device_hour:.2f} {price.currency}"
    speed = "no history" if one.throughput is None else one.throughput.source
    return (
        one.method,
        *map(count, tokens),
        "-" if one.seconds is None else clock(one.seconds),
        money,
        "-" if one.memory_bytes is None else megabytes(one.memory_bytes),
        "-" if one.disk_bytes is None else megabytes(one.disk_bytes),
        f"{one.work_source or 'unknown'}; speed: {speed}",
    )


def _sum(
    estimates: Sequence[Estimate],
    left: dict[str, int],
    price: Price | None,
    slots: int,
    free_bytes: int,
    devices: int,
) -> str:
    asked = [one for one in estimates if left.get(one.method)]
    if not asked:
        return "nothing left to run"
    disk = sum((one.disk_bytes or 0.0) * left[one.method] for one in asked)
    room = f"{megabytes(disk)} of disk ({megabytes(free_bytes)} free)"
    without = [one.method for one in asked if one.seconds is None]
    if without:
        return f"all runs to do: no time, since there is no history for {', '.join(without)}; {room}"
    seconds = sum((one.seconds or 0.0) * left[one.method] for one in asked)
    money = "" if price is None else f", {seconds / 3600 * price.per_device_hour:.2f} {price.currency}"
    wall = clock(seconds / (slots * devices))
    each = f" of {devices} devices" if devices > 1 else ""
    return f"all runs to do: {clock(seconds)} of device time{money}, {wall} on {slots} slots{each}; {room}"


def _fits(estimates: Sequence[Estimate]) -> Iterator[str]:
    devices = dict.fromkeys((fit.device, fit.bytes) for one in estimates for fit in one.fits)
    for device, size in devices:
        fits = {one.method: fit for one in estimates for fit in one.fits if fit.device == device}
        bad = {method: fit for method, fit in fits.items() if not fit.fits}
        said = f"{device} ({megabytes(size)} a process)"
        if not bad:
            unknown = ", ".join(one.method for one in estimates if not one.fits)
            yield f"every run {f'but those of {unknown} (unknown) ' if unknown else ''}fits {said}"
        for method, fit in bad.items():
            cure = ", or ".join(fit.remedies) or "nothing that was tried (accumulation, checkpointing, length, qlora)"
            yield f"{method} does not fit {said}; what would make it fit: {cure}"


def _shown(figure: str, value: float | None) -> str:
    if value is None:
        return "-"
    if figure in ("memory", "disk"):
        return megabytes(value)
    return f"{value:.0f} s" if figure == "seconds" else count(value)
