"""Legality: may this method train on this task, and if not, why, and what is the nearest combination that may?

`refusal` matches words and nothing else: what the objective gives with what the optimiser takes, what objectives,
generators and worked examples need with what the task offers. A component that knows a further reason says so in an
optional `refuses(task, model) -> str | None`. The answer is one sentence, made before anything is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness.contracts import Control, LikelihoodTask, Offer, Pipeline, Stage, Task, TaskRefusal, TextTask, Train
from harness.engines.choice import check_engine, engine_refusal
from harness.errors import UserError
from harness.registry import find_task, methods, tasks
from harness.spec import EvaluationProtocol, ModelReference, Probe
from harness.training import Training


@dataclass(frozen=True)
class Pair:
    """A method on a task: `reason` is None where it may train there."""

    method: str
    task: str
    reason: str | None


def refusal(pipeline: Pipeline, task: Task, model: ModelReference | None = None) -> str | None:
    """None if the pipeline may run on the task, else the sentence that says why not and what is nearest to it."""
    reason = _reason(pipeline, task, model)
    if reason is None:
        return None
    why, hint = reason
    return f"{why} {_nearest_method(pipeline, task) if hint is None else hint}".rstrip()


def pairs() -> list[Pair]:
    """Every registered method with every registered task, both at their defaults."""
    built = {name: entry.create() for name, entry in methods().items()}
    return [
        Pair(name, task_name, refusal(pipeline, task))
        for task_name, task in ((name, entry.create()) for name, entry in tasks().items())
        for name, pipeline in built.items()
    ]


def unused_options(pipeline: Pipeline, training: Training) -> tuple[str, ...]:
    """The given training options that no stage of the pipeline takes: without a gradient only early stopping works."""
    trains = [stage for stage in pipeline.stages if isinstance(stage, Train)]
    if any(stage.optimiser.takes == "gradient" for stage in trains):
        return ()
    return tuple(name for name in training.given() if not trains or name != "early_stopping")


def training_refusal(pipeline: Pipeline, training: Training, evaluation: EvaluationProtocol) -> str | None:
    """None if the pipeline can be trained with these options and this engine, else the sentence that says why not."""
    unserved = engine_refusal(pipeline, evaluation.engine)
    if unserved is not None:
        return unserved
    unused = unused_options(pipeline, training)
    if unused:
        trains = "trains without a gradient" if pipeline.stages else "does not train"
        return f"{_words(unused)} refused: this method {trains}; leave it out."
    for stage in pipeline.stages:
        if not isinstance(stage, Train):
            continue
        options = training.over(stage.training).settled()
        if options.early_stopping is not None and evaluation.curve_points == 0:
            return "early_stopping refused: it goes by the learning curve, and there is none; set curve_points above 0."
        rows = getattr(stage.objective, "batch_size", None)
        if stage.optimiser.takes == "gradient" and rows is not None and options.accumulation > rows:
            return (
                f"accumulation {options.accumulation} refused: an update of {stage.objective.name!r} has {rows} rows; "
                f"use {rows} at most, or a larger batch."
            )
    return None


def control_refusal(pipeline: Pipeline, control: Control | None) -> str | None:
    """None if the pipeline can be run as a negative control, else the sentence that says why not."""
    if control is None:
        return None
    if not pipeline.stages:
        return f"control={control} destroys what a method trains on, and this one trains on nothing: leave it out."
    for stage in pipeline.stages:
        past = getattr(stage.objective, "learns_past_control", None) if isinstance(stage, Train) else None
        if past is not None:
            return f"control={control} does not reach {stage.objective.name!r}, which learns from {past}."  # type: ignore[union-attr]
    return None


def lacking(pipeline: Pipeline, task: Task) -> str | None:
    """None if the task has the training items that the pipeline learns from or shows, else why not; reads its data."""
    trains = any(isinstance(stage, Train) for stage in pipeline.stages)
    wanted = max(pipeline.few_shot, int(trains))
    if not wanted:
        return None
    try:
        there = len(task.items("train", wanted))
    except UserError as error:
        return str(error)
    if there >= wanted:
        return None
    return (
        f"{task.name} has {there or 'no'} train items, {'training' if trains else 'the method'} needs {wanted} or more."
    )


def check_evaluation(task: Task, evaluation: EvaluationProtocol) -> None:
    """Raise UserError, before anything is trained, if the task or the engines cannot score by this protocol."""
    check_engine(evaluation.engine)
    wanted = [("items", evaluation.split, evaluation.items)]
    if evaluation.curve_points:
        wanted.append(("curve_items", "val", evaluation.curve_items))
    for probe in protocol_probes(evaluation):
        there = len(find_task(probe.task.name).create(**probe.task.parameters).items(probe.split, probe.items))
        if there < probe.items:
            raise UserError(f"The probe {probe.label!r} has {there} {probe.split} items, {probe.items} were asked for.")
    for key, split, count in wanted:
        task.items(split, 1)  # a mistake in the data is told as it is
        try:
            there = len(task.items(split, count))
        except UserError as error:
            raise UserError(f"{key}: {error}") from None
        if there < count:
            raise UserError(f"{task.name} has {there} {split} items, {count} were asked for: ask for fewer.")


def items_there(task: Task, split: str, count: int) -> int:
    """`count`, or how many items the split has where they are fewer; reads the task's data.

    For numbers that nobody asked for. Where there is nothing at all it is `count`, which is then refused.
    """
    try:
        return len(task.items(split, count)) or count
    except UserError:
        return min(count, len(task.items(split))) or count


def protocol_probes(evaluation: EvaluationProtocol) -> tuple[Probe, ...]:
    """The probes of a protocol; none where retention is not measured."""
    return evaluation.retention.probes if evaluation.retention is not None else ()


def _reason(pipeline: Pipeline, task: Task, model: ModelReference | None) -> tuple[str, str | None] | None:
    """Why not, and a hint where the components themselves suggest one."""
    if model is not None and (pipeline.stages or pipeline.few_shot or pipeline.repeated):
        from harness.generators import is_generator

        if is_generator(Path(model.name)):
            why = f"{model.name} is a generator, which is scored as it is, by base"
            return f"{why}; to go on from what it writes take generated+METHOD -p generator={model.name}.", ""
    if (pipeline.few_shot or pipeline.repeated) and isinstance(task, LikelihoodTask):
        why = "worked examples" if pipeline.few_shot else "several answers"
        return f"{why} refused: {task.name!r} is scored by likelihoods, nothing is written.", None  # type: ignore[attr-defined]
    if pipeline.told and not isinstance(task, TextTask):
        return f"in context refused: the items of {task.name!r} come with no description or document.", ""
    if pipeline.few_shot and "demonstrations" not in task.offers:
        return f"worked examples refused: they need demonstrations, {_offers(task)}.", None
    for stage in pipeline.stages:
        name = stage_name(stage)
        if isinstance(stage, Train) and stage.optimiser.takes not in stage.objective.gives:
            gives = _words(stage.objective.gives)
            why = f"{stage.optimiser.name!r} takes {stage.optimiser.takes}, {stage.objective.name!r} gives {gives} only"
            return f"{name} refused: {why}.", _other_halves(stage, task)
        if isinstance(stage, Train) and stage.optimiser.takes != "gradient":
            own = getattr(stage.parameterisation, "needs_gradient", None)
            if own is not None:
                return f"{name} refused: {own.rstrip('.')}.", None
        if isinstance(stage, Train):
            movable = getattr(stage.optimiser, "parameterisations", None)
            if movable is not None and stage.parameterisation.name not in movable:
                why = f"{stage.optimiser.name!r} moves {_either(movable)}, not {stage.parameterisation.name!r}"
                return f"{name} refused: {why}.", f"Use {sorted(movable)[0]}, or the optimiser adamw."
        needing = stage.objective if isinstance(stage, Train) else stage
        missing = frozenset(getattr(needing, "needs", frozenset())) - _available(task)
        if missing:
            return f"{name} refused: {needing.name!r} needs {_words(missing)}, {_offers(task)}.", None
        for part in _parts(stage):
            own = part.refuses(task, model) if hasattr(part, "refuses") else None
            if own is not None:
                return f"{name} refused: {own.rstrip('.')}.", None if isinstance(own, TaskRefusal) else ""
    for stage, follower in pairwise(pipeline.stages):
        if isinstance(stage, Train) and not getattr(stage.parameterisation, "mergeable", True) and not keeps(follower):
            unmerged = f"{stage.parameterisation.name!r} cannot be merged into weights"
            why = f"{unmerged}, and {stage_name(follower)} starts from them"
            return f"{stage_name(stage)} refused: {why}. Use lora in its place.", ""
    return None


def keeps(stage: Stage) -> bool:
    """Whether a stage goes on with the adapter that the stage before it left, instead of with merged weights."""
    return bool(getattr(stage.parameterisation if isinstance(stage, Train) else stage, "keeps_adapter", False))


def stage_name(stage: Stage) -> str:
    """`dpo x lora x adamw`, or the name of a transform or generator."""
    return " x ".join(str(part.name) for part in _parts(stage))


def _parts(stage: Stage) -> tuple[Any, ...]:
    if isinstance(stage, Train):
        return (stage.objective, stage.parameterisation, stage.optimiser)
    return (stage,)


def _other_halves(stage: Train, task: Task) -> str | None:
    """The optimisers that take what the objective gives, and the objectives that give what the optimiser takes."""
    trains = list(_registered_trains())
    optimisers = {train.optimiser.name for train in trains if train.optimiser.takes in stage.objective.gives}
    objectives = {
        train.objective.name
        for train in trains
        if stage.optimiser.takes in train.objective.gives and train.objective.needs <= _available(task)
    }
    ways = []
    if optimisers:
        ways.append(f"optimiser {_either(optimisers)}")
    if objectives:
        ways.append(f"objective {_either(objectives)}")
    return f"Use {', or '.join(ways)}." if ways else None


def _nearest_method(pipeline: Pipeline, task: Task) -> str:
    """The legal method that shares most components with the refused pipeline, or where that could train instead.

    An optimiser alone makes no two methods alike.
    """
    wanted = _kinds(pipeline)
    best: tuple[int, str] | None = None
    for name, entry in methods().items():
        candidate = entry.create()
        if not candidate.stages or _reason(candidate, task, None) is not None:
            continue
        shared = len(wanted & _kinds(candidate))
        if best is None or shared > best[0]:
            best = (shared, name)
    if best is None:
        return f"No registered method can train on {task.name!r} (beyondrl list pairs)."
    fit = (
        [] if best[0] else [name for name, entry in tasks().items() if _reason(pipeline, entry.create(), None) is None]
    )
    if fit:
        return f"It can train on {_either(fit)} (beyondrl list pairs)."
    return f"Nearest that can: {best[1]} (beyondrl list pairs)."


def _kinds(pipeline: Pipeline) -> set[str]:
    """The names of all parts but optimisers."""
    optimisers = {stage.optimiser.name for stage in pipeline.stages if isinstance(stage, Train)}
    return {part.name for stage in pipeline.stages for part in _parts(stage)} - optimisers


def _registered_trains() -> Iterator[Train]:
    for entry in methods().values():
        for stage in entry.create().stages:
            if isinstance(stage, Train):
                yield stage


def _available(task: Task) -> frozenset[Offer]:
    """What the task offers and what can be made of it: preferences, by grading samples."""
    return task.offers | ({"preferences"} if "verifier" in task.offers else set())


def _offers(task: Task) -> str:
    return f"task {task.name!r} offers {_words(task.offers)}" + (" only" if task.offers else "")


def _words(words: Iterable[str]) -> str:
    return " and ".join(sorted(words)) or "nothing"


def _either(names: Iterable[str]) -> str:
    return " or ".join(sorted(names))
