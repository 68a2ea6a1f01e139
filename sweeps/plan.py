"""The plan of a sweep: what is new, done, failed or refused, what it costs and what it can tell. Writes nothing.

Costs come from finished runs of the same method, task, model and budget in the runs directory, as medians; without
such runs there is no estimate. Trials whose parameters tuning has yet to choose are counted as new.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from harness.models import load_model
from harness.record import RunDirectory
from harness.spec import RunSpec
from harness.sweep_record import Arm as ArmRecord
from harness.sweep_record import Refusal
from sweeps.directory import SweepDirectory
from sweeps.resolve import Arm, Sweep

DISCORDANCE = 0.30
"""Assumed share of questions that two methods answer differently (one right, the other wrong)."""
_SMALL = 100_000_000
"""Parameters below which the methods' own steps, found on models of half a billion and more, are too short to learn."""
_STEPS = ("learning_rate", "sigma")
"""Settings that a small model needs larger."""
_POWER = 2.8
"""1.96 + 0.84: a difference of so many standard errors is found at the 5% level with probability 80%."""


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


@dataclass(frozen=True)
class SweepPlan:
    """The plan of a whole sweep."""

    name: str
    identity: str
    arms: list[PlannedArm]
    refused: list[Refusal]
    runs: int
    runs_left: int
    detectable: tuple[float, float]
    """Smallest difference in accuracy: if seeds are independent samples of questions, and if they repeat each other."""
    detectable_formula: str
    scored: str
    """Numbers of items, for people."""
    short_steps: tuple[str, ...] = ()
    """On a small model: arms whose steps are still looked for where large models have theirs."""


def make_plan(sweep: Sweep, runs: Path) -> SweepPlan:
    """Read the runs directory and say what the sweep would do."""
    known = SweepDirectory.of(runs, sweep.name).read()
    records = {arm.method: arm for arm in known.arms} if known is not None and known.identity == sweep.identity else {}
    arms = [_planned(sweep, arm, records.get(arm.label), runs) for arm in sweep.arms]
    tune_seeds = len(sweep.file.tune.seeds)
    low, high, formula = detectable_difference(len(sweep.file.final.seeds), sweep.file.final.items)
    return SweepPlan(
        name=sweep.name,
        identity=sweep.identity,
        arms=arms,
        refused=list(sweep.refused),
        runs=sum(arm.trials * tune_seeds + arm.final for arm in arms),
        runs_left=sum(arm.runs_left for arm in arms),
        detectable=(low, high),
        detectable_formula=formula,
        scored=_scored(sweep),
        short_steps=_short_steps(sweep),
    )


def _short_steps(sweep: Sweep) -> tuple[str, ...]:
    choices = {choice.label: choice for choice in sweep.file.methods}
    found = tuple(
        arm.label
        for arm in sweep.arms
        if any(name in _STEPS and name not in choices[arm.label].search for name in arm.tunable)
    )
    return found if found and load_model(sweep.model.name).parameters < _SMALL else ()


def _scored(sweep: Sweep) -> str:
    """What final runs, trials and points of the curve are scored on."""
    file = sweep.file
    parts = [f"a final run on {file.final.items} {file.final.on} items"]
    if any(arm.trials for arm in sweep.arms):
        parts.append(f"a trial on {file.tune.items} {file.tune.on} items")
    if file.evaluation.curve_points:
        parts.append(f"each of {file.evaluation.curve_points} points of the curve on {file.evaluation.curve_items}")
    return ", ".join(parts)


def detectable_difference(seeds: int, items: int) -> tuple[float, float, str]:
    """The smallest true difference that a paired comparison finds in 4 of 5 cases, in its best and its worst case."""
    best, worst = (_POWER * math.sqrt(DISCORDANCE / count) for count in (seeds * items, items))
    formula = (
        f"{_POWER} x sqrt(d / n), where two methods answer d = {DISCORDANCE:.0%} of the questions differently (assumed)"
        f" and n lies between {items} items, if seeds repeat each other, and {items} items x {seeds} seeds"
    )
    return best, worst, formula


def _planned(sweep: Sweep, arm: Arm, record: ArmRecord | None, runs: Path) -> PlannedArm:
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
    )
