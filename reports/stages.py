"""The table of stages: what each stage of a pipeline was, what it cost, and how good the policy was after it."""

from __future__ import annotations

import json
from typing import Any

from reports.numbers import MISSING, count, points, seconds
from reports.sweep_data import SweepData
from reports.tables import Table

_PARTS = ("transform", "generator", "objective", "parameterisation", "optimiser")


def stages(data: SweepData) -> Table:
    """One row a method and stage, for methods of several stages; no rows where there are none."""
    rows = []
    for method in data.methods:
        for row in method.stages:
            rows.append(
                [
                    method.name,
                    str(row["stage"] + 1),
                    _what(json.loads(row["description"])),
                    seconds(row["device_seconds"]),
                    count(row["flops"]),
                    count(row["generated_tokens"]),
                    f"{row['steps']:.0f}",
                    points(row["accuracy"]),
                    MISSING if row["reward"] is None else f"{row['reward']:.3f}",
                    row["stopped_by"] or "itself",
                ]
            )
    columns = ["method", "stage", "what", "time", "FLOPs", "generated", "steps", "accuracy", "reward", "ended by"]
    scored = next((row for method in data.methods for row in method.stages if row["items"] is not None), None)
    where = f" on {scored['items']} {scored['split']} questions" if scored is not None else ""
    note = (
        f"Means over the final runs. Accuracy and reward are the policy's after the stage{where}: what a stage "
        "brought, not a result. Cost is the stage's own; scoring it is charged to nobody."
    )
    return Table("Stages", columns, rows, note, frozenset({"method", "what", "ended by"}))


def _what(description: dict[str, Any]) -> str:
    """`sft x full x adamw, 30% of the budget`, or the name of a transform."""
    parts = [
        description[part]["name"] for part in ("objective", "parameterisation", "optimiser") if part in description
    ]
    words = [" x ".join(parts)]
    if "share" in description:
        words.append(f"{description['share']:.0%} of the budget")
    if "budget" in description:
        words.append(", ".join(f"{limit:g} {name.replace('_', ' ')}" for name, limit in description["budget"].items()))
    return ", ".join(words)
