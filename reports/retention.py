"""The retention table: what each method lost on probes that it was not trained on, beside what it gained."""

from __future__ import annotations

from typing import Any

from reports.comparison import Comparison
from reports.numbers import MISSING
from reports.sweep_data import MethodData
from reports.tables import Table


def retention(comparison: Comparison) -> Table:
    """One row a method; no rows where nothing was watched."""
    watched = [one for one in comparison.standings if one.method.retention]
    probes = list(dict.fromkeys((row["probe"], row["measure"]) for one in watched for row in one.method.retention))
    rows = []
    for one in watched:
        by_probe = {(row["probe"], row["measure"]): row for row in one.method.retention}
        gain = "" if one.versus_base is None else f"{100 * one.versus_base.difference.mean:+.1f}"
        rows.append(
            [one.method.name, gain, *(_before_after(by_probe.get(key)) for key in probes), _divergence(one.method)]
        )
    names = [probe if measure == "accuracy" else f"{probe}: {measure.replace('_', ' ')}" for probe, measure in probes]
    note = (
        "Gain is accuracy over base in points. Probes were not trained on: accuracy in per cent (other figures as they "
        "are) before and after, with the change of each seed. KL is the forward divergence from the start model on "
        "the task's questions, in nats a completion, with its standard error over prompts."
    )
    return Table("Retention", ["method", "gain", *names, "KL to start"], rows, note)


def _before_after(row: dict[str, Any] | None) -> str:
    if row is None:
        return MISSING
    scale, form = (100, ".1f") if row["measure"] == "accuracy" else (1, ".3f")
    each = ", ".join(f"{scale * change:+{form}}" for change in row["changes"])
    return f"{scale * row['before']:{form}} -> {scale * row['after']:{form}}\n({each})"


def _divergence(method: MethodData) -> str:
    measured = [run for run in method.runs if run["kl_per_sequence"] is not None]
    if not measured:
        return MISSING
    mean = sum(run["kl_per_sequence"] for run in measured) / len(measured)
    error = sum(run["kl_standard_error"] for run in measured) / len(measured)
    return f"{abs(mean) if abs(mean) < 5e-3 else mean:.2f} ± {error:.2f}"
