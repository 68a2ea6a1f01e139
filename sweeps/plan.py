"""The plan of a sweep: what is new, done, failed or refused, what it costs and what it can tell. Writes nothing.

Costs come from finished runs of the same method, task, model and budget in the runs directory, as medians; without
such runs there is no estimate. Trials whose parameters tuning has yet to choose are counted as new.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from harness.record import RunDirectory
from harness.spec import RunSpec
from harness.sweep_record import Arm as ArmRecord
from harness.sweep_record import Refusal
from sweeps.directory import SweepDirectory
from sweeps.estimate.history import read_history
from sweeps.resolve import Arm, Sweep

DISCORDANCE = 0.30
"""Assumed share of questions that two methods answer differently (one right, the other wrong)."""
_POWER = 2.8
"""1.96 + 0.84: a difference of so many standard errors is found at the 5% level with probability 80%."""


@dataclass(frozen=True)
class Cost:
    """Medians over finished runs like this one."""

    runs: int
    seconds: float
    bytes: float


@dataclass(frozen=True)
class PlannedArm:
    """What is left to do for one method."""

    method: str
    trials: int
    trials_done: int
    final: int
    final_done: int
    failed: int
    untuned: str | None
    training: str
    """The options of its stages that the sweep file gives, for people; empty without any."""
    unused: tuple[str, ...]
    """Options of the whole sweep that it cannot take."""
    runs_left: int
    cost: Cost | None
    """None: no finished run to go by."""


@dataclass(frozen=True)
class SweepPlan:
    """The plan of a whole sweep."""

    name: str
    identity: str
    arms: list[PlannedArm]
    refused: list[Refusal]
    runs: int
    runs_left: int
    seconds_left: float | None
    """Run time over all slots; None where a method without history has runs to do."""
    bytes_left: float | None
    detectable: tuple[float, float]
    """Smallest difference in accuracy: if seeds are independent samples of questions, and if they repeat each other."""
    detectable_formula: str


def make_plan(sweep: Sweep, runs: Path) -> SweepPlan:
    """Read the runs directory and say what the sweep would do."""
    known = SweepDirectory.of(runs, sweep.name).read()
    records = {arm.method: arm for arm in known.arms} if known is not None and known.identity == sweep.identity else {}
    history = _history(runs)
    arms = [_planned(sweep, arm, records.get(arm.label), runs, history) for arm in sweep.arms]
    tune_seeds = len(sweep.file.tune.seeds)
    left = [arm for arm in arms if arm.runs_left]
    costs = [arm.cost for arm in left]
    known_costs = [(arm.runs_left, arm.cost) for arm in left if arm.cost is not None]
    whole = None not in costs
    low, high, formula = detectable_difference(len(sweep.file.final.seeds), sweep.file.final.items)
    return SweepPlan(
        name=sweep.name,
        identity=sweep.identity,
        arms=arms,
        refused=list(sweep.refused),
        runs=sum(arm.trials * tune_seeds + arm.final for arm in arms),
        runs_left=sum(arm.runs_left for arm in arms),
        seconds_left=sum(count * cost.seconds for count, cost in known_costs) if whole else None,
        bytes_left=sum(count * cost.bytes for count, cost in known_costs) if whole else None,
        detectable=(low, high),
        detectable_formula=formula,
    )


def detectable_difference(seeds: int, items: int) -> tuple[float, float, str]:
    """The smallest true difference that a paired comparison finds in 4 of 5 cases, in its best and its worst case."""
    best, worst = (_POWER * math.sqrt(DISCORDANCE / count) for count in (seeds * items, items))
    formula = (
        f"{_POWER} x sqrt(d / n), where two methods answer d = {DISCORDANCE:.0%} of the questions differently (assumed)"
        f" and n lies between {items} items, if seeds repeat each other, and {items} items x {seeds} seeds"
    )
    return best, worst, formula


def _planned(
    sweep: Sweep,
    arm: Arm,
    record: ArmRecord | None,
    runs: Path,
    history: dict[str, list[tuple[float, int]]],
) -> PlannedArm:
    tune_seeds = len(sweep.file.tune.seeds)
    specs: list[RunSpec] = []
    trials_done = 0
    if arm.trials:
        ended = {trial.number: trial.state != "running" for trial in record.trials} if record is not None else {}
        trials_done = sum(ended.values())
        specs += sweep.trial_specs(arm, {}) if not ended else []
    winner = arm.component() if not arm.trials else None
    if record is not None and record.winner is not None:
        winner = arm.entry.resolve(record.winner)
    finals = sweep.final_specs(arm, winner) if winner is not None else []
    statuses = [RunDirectory.of(runs, spec).status() for spec in finals]
    trial_states = [RunDirectory.of(runs, spec).status() for spec in specs]
    failed = [*statuses, *trial_states].count("failed")
    if record is not None:
        failed += sum(trial.state == "failed" for trial in record.trials)
    final_done = statuses.count("done")
    count = len(sweep.file.final.seeds)
    left = (arm.trials - trials_done) * tune_seeds - trial_states.count("done") + count - final_done
    some = (specs or finals or sweep.final_specs(arm, arm.component()))[0]
    return PlannedArm(
        method=arm.label,
        trials=arm.trials,
        trials_done=trials_done,
        final=count,
        final_done=final_done,
        failed=failed,
        untuned=arm.untuned,
        training=arm.training.text(),
        unused=arm.unused,
        runs_left=left,
        cost=_cost(history.get(_likeness(some), [])),
    )


def _cost(like: list[tuple[float, int]]) -> Cost | None:
    if not like:
        return None
    return Cost(len(like), statistics.median(one[0] for one in like), statistics.median(one[1] for one in like))


def _history(runs: Path) -> dict[str, list[tuple[float, int]]]:
    """Seconds and bytes of every finished run, by likeness."""
    history: dict[str, list[tuple[float, int]]] = {}
    for past in read_history(runs):
        history.setdefault(_likeness(past.spec), []).append((past.result.meters.seconds, past.bytes))
    return history


def _likeness(spec: RunSpec) -> str:
    """Runs that cost about the same: same method, task, model, budget and training options."""
    parts = [spec.task, spec.budget, spec.training]
    return "/".join([spec.method.name, spec.model.name, *(part.model_dump_json() for part in parts)])
