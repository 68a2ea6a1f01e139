"""`sweep.json`: what a sweep planned, tuned and chose, so that a report can be rebuilt from directories alone.

The controller rewrites it (atomically) whenever something is decided. It lies in `<runs>/sweeps/<name>/` beside
`sweep.yaml` (the file as given) and `study.journal` (Optuna's storage); the runs themselves lie where every run lies
and know nothing of sweeps.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from harness.spec import Budget, Component, EvaluationProtocol, Frozen, ModelReference


class Trial(Frozen):
    """One Optuna trial of one arm: a tuning run scored on val."""

    number: int
    run_id: str
    parameters: dict[str, Any]
    """The tuned parameters only."""
    state: Literal["running", "complete", "pruned", "failed"]
    value: float | None
    """The objective on val; None unless complete."""


class Arm(Frozen):
    """One method of the comparison."""

    method: str
    trials: list[Trial] = Field(default_factory=list)
    winner: dict[str, Any] | None = None
    """The resolved parameters of the best trial (the defaults where nothing is tuned)."""
    final_run_ids: list[str] = Field(default_factory=list)
    """One run a seed, scored on the final split."""


class Refusal(Frozen):
    """A method that cannot run here, and the sentence that says why."""

    method: str
    reason: str


class SweepRecord(Frozen):
    """`sweep.json`."""

    schema_version: int = 1
    name: str
    identity: str
    """Hash of the resolved sweep: arms, task, model, budget, tuning, seeds, protocol."""
    task: Component
    model: ModelReference
    budget: Budget
    tune_trials: int
    tune_seeds: list[int]
    final_seeds: list[int]
    tune_evaluation: EvaluationProtocol
    final_evaluation: EvaluationProtocol
    arms: list[Arm]
    refused: list[Refusal] = Field(default_factory=list)
    commands: list[str]
    """What to type to do this again."""
    source: str
    """The sweep file as given."""
    finished: bool = False
