"""A plan as the terminal shows it: one row a method, then refusals and what the sweep can tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sweeps.plan import PlannedArm, SweepPlan

if TYPE_CHECKING:
    from rich.console import RenderableType


def plan_table(plan: SweepPlan) -> Iterator[RenderableType]:
    """What to print, in order."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("method", "tune", "final", "new", "done", "failed"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for arm in plan.arms:
        table.add_row(*_row(arm))
    for one in plan.refused:
        table.add_row(one.method, "-", "-", "refused", "-", "-")
    yield Text(
        f"{plan.name}: {plan.runs} runs, {plan.runs - plan.runs_left} done, {plan.runs_left} to do, "
        f"{len(plan.refused)} refused (sweep {plan.identity})"
    )
    yield table
    for one in plan.refused:
        yield Text(f"refused: {one.method}: {one.reason}")
    for arm in plan.arms:
        if arm.untuned is not None and arm.untuned != "no training":
            yield Text(f"{arm.method} is not tuned: {arm.untuned}; its settings go to the final runs as they are")
    for options in dict.fromkeys(arm.training for arm in plan.arms if arm.training):
        yield Text(f"training of {', '.join(arm.method for arm in plan.arms if arm.training == options)}: {options}")
    for arm in plan.arms:
        if arm.unused and arm.untuned != "no training":
            names = " and ".join(name.replace("_", " ") for name in arm.unused)
            yield Text(f"{arm.method} goes without {names}: it trains without a gradient")
    yield Text(f"scored: {plan.scored}")
    if plan.short_steps:
        yield Text(
            f"short steps: {', '.join(plan.short_steps)} would look for learning rate or sigma where models of half a "
            "billion parameters have theirs; one this small learns little there, give it a search range as "
            "sweeps/quickstart.yaml does"
        )
    best, worst = plan.detectable
    yield Text(
        f"smallest difference it can detect: {100 * best:.1f} to {100 * worst:.1f} points of accuracy "
        f"({plan.detectable_formula})"
    )


def megabytes(size: float) -> str:
    """Bytes as MB, or GB from a thousand of them on."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _row(arm: PlannedArm) -> tuple[str, ...]:
    done = arm.trials_done + arm.final_done
    return (
        arm.method,
        f"{arm.trials_done}/{arm.trials}" if arm.trials else "-",
        f"{arm.final_done}/{arm.final}",
        str(arm.runs_left),
        str(done),
        str(arm.failed),
    )
