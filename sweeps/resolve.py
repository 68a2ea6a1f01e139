"""A sweep file meets the registry: arms with their parameters, refusals, the model's revision and the identities.

An arm is one method of the comparison under its label. The sweep's identity is the hash of everything that decides its
outcome; an arm's tuning identity leaves out the final runs, the other arms and the number of trials, so that a sweep
with more methods, seeds or trials takes up the studies it had.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harness.contracts import Control, Pipeline, Task
from harness.document import Document, Place
from harness.errors import UserError
from harness.parameters import Parameter
from harness.plan import (
    check_evaluation,
    control_refusal,
    items_there,
    lacking,
    refusal,
    training_refusal,
    unused_options,
)
from harness.registry import Entry, find_method, find_task
from harness.spec import Component, EvaluationProtocol, ModelReference, Retention, RunSpec
from harness.sweep_record import Refusal
from harness.training import NOTHING_ASKED, Training
from sweeps.file import MethodChoice, SweepFile
from sweeps.retention import resolve_retention
from sweeps.space import tunable


@dataclass(frozen=True)
class Arm:
    """One method of the comparison."""

    label: str
    entry: Entry[Pipeline]
    fixed: dict[str, Any]
    """The parameters that the sweep file gives."""
    tunable: dict[str, Parameter]
    trials: int
    untuned: str | None
    """Why there are no trials, where there are none."""
    training: Training = NOTHING_ASKED
    """The options that the sweep file gives its stages."""
    unused: tuple[str, ...] = ()
    """Options of the whole sweep that this method cannot take and does without."""
    control: Control | None = None
    """Which negative control it is, if it is one."""

    def component(self, values: dict[str, Any] | None = None) -> Component:
        """The method with `values` for the tunable parameters (those of the first trial if left out)."""
        start = {name: parameter.default for name, parameter in self.tunable.items()}
        return self.entry.resolve({**self.fixed, **start, **(values or {})})


@dataclass(frozen=True)
class Sweep:
    """A sweep with nothing left open but what tuning decides."""

    file: SweepFile
    source: str
    arms: tuple[Arm, ...]
    refused: tuple[Refusal, ...]
    task: Component
    model: ModelReference
    retention: Retention | None = None

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def tune_evaluation(self) -> EvaluationProtocol:
        """How trials are scored: on val, never on test."""
        return self._evaluation(self.file.tune.on, self.file.tune.items)

    @property
    def final_evaluation(self) -> EvaluationProtocol:
        """How the reported runs are scored, and what they are watched for."""
        protocol = self._evaluation(self.file.final.on, self.file.final.items)
        return protocol.model_copy(update={"retention": self.retention})

    def trial_specs(self, arm: Arm, values: dict[str, Any]) -> list[RunSpec]:
        """The runs of one trial, one a tuning seed."""
        method = arm.component(values)
        return [self._spec(arm, method, seed, self.tune_evaluation) for seed in self.file.tune.seeds]

    def final_specs(self, arm: Arm, method: Component) -> list[RunSpec]:
        """The reported runs of an arm with the settings `method`, one a final seed."""
        return [self._spec(arm, method, seed, self.final_evaluation) for seed in self.file.final.seeds]

    @cached_property
    def identity(self) -> str:
        """16 hexadecimal digits over everything that decides the outcome."""
        arms = [[arm.label, self.tuning_identity(arm), arm.trials] for arm in self.arms]
        refused = [one.model_dump() for one in self.refused]
        final = self.final_evaluation.content()
        return _digest([arms, refused, self.file.final.seeds, final, self._common()])

    def tuning_identity(self, arm: Arm) -> str:
        """16 hexadecimal digits over what decides the trials of an arm, but for their number."""
        space = {name: repr(one.search) for name, one in arm.tunable.items()}
        tune = self.file.tune.model_dump(mode="json", exclude={"trials"})
        evaluation = self.tune_evaluation.content()
        own = [one for one in (arm.training.given(), arm.control) if one]
        return _digest([arm.component().content(), space, tune, evaluation, self._common(), *own])

    def _common(self) -> list[Any]:
        return [self.task.content(), *(one.model_dump(mode="json") for one in (self.model, self.file.budget))]

    def _evaluation(self, split: str, items: int) -> EvaluationProtocol:
        return EvaluationProtocol.model_validate({"split": split, "items": items, **self.file.evaluation.model_dump()})

    def _spec(self, arm: Arm, method: Component, seed: int, evaluation: EvaluationProtocol) -> RunSpec:
        return RunSpec(
            method=method,
            task=self.task,
            model=self.model,
            budget=self.file.budget,
            seed=seed,
            evaluation=evaluation,
            training=arm.training,
            control=arm.control,
        )


def resolve(file: SweepFile, document: Document, model: ModelReference) -> Sweep:
    """Match a sweep file with what is registered; UserError with the line for what is not there."""
    with _at(document, ("task",)):
        entry = find_task(file.task.name)
        component = entry.resolve(file.task.parameters)
        task = entry.create(**file.task.parameters)
        file = _with_items_there(file, task)
    arms, refused = [], []
    for position, choice in enumerate(file.methods):
        with _at(document, ("methods", position)):
            arm = _arm(choice, file)
            pipeline = arm.entry.create(**arm.fixed)
            reason = (
                refusal(pipeline, task, model)
                or training_refusal(pipeline, arm.training, _curve(file))
                or control_refusal(pipeline, arm.control)
                or lacking(pipeline, task)
            )
        if reason is None:
            arms.append(arm)
        else:
            refused.append(Refusal(method=choice.label, reason=reason))
    if not arms:
        raise UserError(f"{document.name}: no method of this sweep can run. {refused[0].method}: {refused[0].reason}")
    retention = None
    if file.retention is not None:
        with _at(document, ("retention",)):
            retention = resolve_retention(file.retention)
    sweep = Sweep(file, document.text, tuple(arms), tuple(refused), component, model, retention)
    with _at(document, ("task",)):
        task.items(sweep.final_evaluation.split, 1)  # data that cannot be read is the task's mistake
    protocols = {"final": sweep.final_evaluation, **({"tune": sweep.tune_evaluation} if file.tune.trials else {})}
    for key, protocol in protocols.items():
        with _at(document, (key,) if key in document.data else ()):
            check_evaluation(task, protocol)
    return sweep


def _with_items_there(file: SweepFile, task: Task) -> SweepFile:
    """The sweep with numbers of items that its author left open cut to what the task has."""
    final, tune, evaluation = file.final, file.tune, file.evaluation
    if "items" not in final.model_fields_set:
        final = final.model_copy(update={"items": items_there(task, final.on, final.items)})
    if "items" not in tune.model_fields_set and tune.trials:
        tune = tune.model_copy(update={"items": items_there(task, tune.on, tune.items)})
    if "curve_items" not in evaluation.model_fields_set and evaluation.curve_points:
        there = items_there(task, "val", evaluation.curve_items)
        evaluation = evaluation.model_copy(update={"curve_items": there})
    return file.model_copy(update={"final": final, "tune": tune, "evaluation": evaluation})


def _arm(choice: MethodChoice, file: SweepFile) -> Arm:
    entry = find_method(choice.name)
    entry.resolve(choice.parameters)
    space = tunable(entry, choice)
    pipeline = entry.create(**choice.parameters)
    unused = unused_options(pipeline, file.training)
    training = choice.training.over(file.training.without(unused))
    if not pipeline.stages:
        untuned = "no training"
    elif not space:
        untuned = "nothing to tune"
    elif file.tune.trials == 0:
        untuned = "tune.trials is 0"
    else:
        return Arm(
            choice.label, entry, choice.parameters, space, file.tune.trials, None, training, unused, choice.control
        )
    return Arm(choice.label, entry, choice.parameters, space, 0, untuned, training, unused, choice.control)


def _curve(file: SweepFile) -> EvaluationProtocol:
    """The protocol as far as it is the same for trials and final runs."""
    return EvaluationProtocol.model_validate(file.evaluation.model_dump())


@contextmanager
def _at(document: Document, place: Place) -> Iterator[None]:
    """Put the line of the file before a user's mistake."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{document.where(place)}: {error}") from None


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
