"""What was compared, in one line: task, model, budget, seeds, items and how answers were decoded."""

from __future__ import annotations

from typing import Any

from reports.numbers import count, setting
from reports.sweep_data import SweepData

_NAMED = 10
_UNITS = {"flops": "FLOPs", "device_seconds": "device seconds"}


def headline(data: SweepData) -> str:
    """`countdown (level L2) · lab · 1T FLOPs a run · 3 seeds x 500 items x 4 samples at temperature 1`"""
    sweep = data.sweep
    seeds = max((len(method.seeds) for method in data.methods), default=0)
    parts = [task_text(data), sweep["model"], budget_text(sweep["budget"]), _protocol(seeds, sweep["final_evaluation"])]
    return " · ".join(parts)


def title(data: SweepData) -> str:
    """`countdown (level L2): base, sft, grpo`, or how many methods where there are more than a line can name."""
    names = [method.name for method in data.methods]
    return f"{task_text(data)}: {', '.join(names) if len(names) <= _NAMED else f'{len(names)} methods'}"


def task_text(data: SweepData) -> str:
    """`countdown (level L2)`: the task with the parameters that were given."""
    given = data.sweep["task_parameters"]
    shown = {key: value for key, value in given.items() if value is not None}
    if data.sweep["final_evaluation"].get("max_new_tokens") is not None:
        shown.pop("max_new_tokens", None)  # the sweep's own limit stands with the rest of its protocol
    inside = ", ".join(f"{key} {setting(value)}" for key, value in shown.items())
    return f"{data.sweep['task']} ({inside})" if inside else str(data.sweep["task"])


def budget_text(budget: dict[str, Any]) -> str:
    """`1T FLOPs a run`, or `no budget`."""
    if not budget:
        return "no budget"
    limits = [f"{count(limit)} {_UNITS.get(name, name.replace('_', ' '))}" for name, limit in budget.items()]
    return f"{' and '.join(limits)} a run"


def _protocol(seeds: int, evaluation: dict[str, Any]) -> str:
    items = "all" if evaluation["items"] is None else f"{evaluation['items']:,}"
    text = f"{seeds} {'seed' if seeds == 1 else 'seeds'} x {items} {evaluation['split']} items"
    if evaluation.get("max_new_tokens") is not None:
        text += f", at most {evaluation['max_new_tokens']} tokens"
    if evaluation["temperature"] == 0:
        return f"{text}, greedy"
    return f"{text} x {evaluation['samples']} samples at temperature {evaluation['temperature']:g}"
