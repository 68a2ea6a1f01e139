"""What a report across tasks compares: the gains of the methods that several sweeps share, [methods, seeds, tasks].

A score is the gain of a run over the untouched base in points of accuracy, not a share of the best gain seen: such a
share would change for every method whenever one is added, is too low wherever the best was lucky, and blows up noise on
a task where nothing gains. The price is that tasks with more to gain weigh more, so every task has its column too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import UserError
from reports.aggregates import Scores
from reports.comparison import BASELINE, SEEDS_TO_RANK
from reports.headline import budget_text, task_text
from reports.sweep_data import MethodData, SweepData, read_sweep_data


@dataclass(frozen=True)
class League:
    """Sweeps on different tasks and the gains in points of what they share; `gains` is [methods, seeds, tasks]."""

    sweeps: list[SweepData]
    methods: list[str]
    seeds: list[int]
    gains: Scores
    base: list[float]
    """Accuracy of the untouched base on each task, in points."""
    left_out: dict[str, str]
    """Methods of some sweep that are not compared, and why."""

    @property
    def tasks(self) -> list[str]:
        return [task_text(data) for data in self.sweeps]

    @property
    def differences(self) -> list[str]:
        """In what the sweeps differ beside the task."""
        found = []
        for name, values in {
            "models": [str(data.sweep["model"]) for data in self.sweeps],
            "splits": [str(data.sweep["final_evaluation"]["split"]) for data in self.sweeps],
            "engines": [str(data.sweep["final_evaluation"]["engine"]) for data in self.sweeps],
            "ways of decoding": [_decoding(data.sweep["final_evaluation"]) for data in self.sweeps],
            "budgets": [budget_text(data.sweep["budget"]) for data in self.sweeps],
            "numbers of tuning trials": [str(data.sweep["tune_trials"]) for data in self.sweeps],
        }.items():
            if len(set(values)) > 1:
                found.append(f"different {name} ({', '.join(values)})")
        revisions: dict[str, set[str]] = {}
        for data in self.sweeps:
            revisions.setdefault(data.sweep["model"], set()).add(data.sweep["revision"])
        found += [
            f"different revisions of {model} ({', '.join(sorted(some))})"
            for model, some in revisions.items()
            if len(some) > 1
        ]
        return found


def read_league(database: Path, names: list[str]) -> League:
    """Read the sweeps; UserError where they cannot be compared across tasks."""
    sweeps = [read_sweep_data(database, name) for name in dict.fromkeys(names)]
    tasks = [json.dumps([data.sweep["task"], data.sweep["task_parameters"]], sort_keys=True) for data in sweeps]
    for place, task in enumerate(tasks):
        if task in tasks[:place]:
            first, second = (sweeps[one].sweep["sweep"] for one in (tasks.index(task), place))
            raise UserError(
                f"{first} and {second} are both on {task_text(sweeps[place])}: a report across "
                "tasks takes one sweep a task."
            )
    if len(sweeps) < 2:
        raise UserError("A report across tasks takes two sweeps or more; for one: beyondrl report SWEEP.")
    found = [{method.name: method for method in data.methods if _counts(method)} for data in sweeps]
    shared = [name for name in found[0] if all(name in one for one in found)]
    if BASELINE not in shared or len(shared) < 3:
        raise UserError(
            f"{', '.join(names)} share {', '.join(shared) or 'no method'} with {SEEDS_TO_RANK} finished seeds: a "
            f"report across tasks takes {BASELINE} and two methods or more in every sweep."
        )
    seeds = [seed for seed in found[0][shared[0]].seeds if all(seed in one[n].seeds for one in found for n in shared)]
    if len(seeds) < SEEDS_TO_RANK:
        raise UserError(f"{', '.join(names)} share {len(seeds)} seeds; a report across tasks takes {SEEDS_TO_RANK}.")
    base = [100 * float(one[BASELINE].scores.mean()) for one in found]
    methods = [name for name in shared if name != BASELINE]
    gains = np.array([[_accuracies(one[name], seeds) for one in found] for name in methods]) - np.array(base)[:, None]
    return League(sweeps, methods, seeds, np.swapaxes(gains, 1, 2), base, _left_out(sweeps, found, shared))


def _decoding(protocol: dict[str, Any]) -> str:
    """How answers were chosen; how long they may be is the task's."""
    if protocol["temperature"] == 0:
        return "greedy"
    return f"{protocol['samples']} samples at temperature {protocol['temperature']:g}, top-p {protocol['top_p']:g}"


def _counts(method: MethodData) -> bool:
    return len(method.seeds) >= SEEDS_TO_RANK and not any(run["control"] for run in method.runs)


def _accuracies(method: MethodData, seeds: list[int]) -> list[float]:
    return [100 * float(method.scores[method.seeds.index(seed)].mean()) for seed in seeds]


def _left_out(sweeps: list[SweepData], found: list[dict[str, MethodData]], shared: list[str]) -> dict[str, str]:
    reasons: dict[str, str] = {}
    for name in dict.fromkeys(method.name for data in sweeps for method in data.methods):
        if name not in shared:
            without = [data.sweep["sweep"] for data, one in zip(sweeps, found, strict=True) if name not in one]
            reasons[name] = f"not in {', '.join(without)} with {SEEDS_TO_RANK} finished seeds"
    return reasons
