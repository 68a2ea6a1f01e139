"""What a method is, put together from the registry: its parts, what it needs, where it can train, its relatives.

Nothing is written for it by hand: the words are docstrings, the ranges are the annotated types, and whether it can
train on a task is the planner's answer. Relatives are the methods that share most parts (objective, parameterisation,
optimiser, transform or generator), as a share of the parts that either has.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from harness.contracts import Pipeline, Stage, Train
from harness.parameters import Parameter
from harness.plan import refusal, stage_name
from harness.registry import Entry, components, find_method, methods, tasks

NEAREST = 3
"""Relatives that are shown."""


@dataclass(frozen=True)
class Part:
    """One choice of a stage: `kind` is objective, parameterisation, optimiser or step."""

    stage: int
    kind: str
    name: str
    summary: str


@dataclass(frozen=True)
class Relative:
    """A method with parts in common: the share of them, and the parts that only one of the two has."""

    name: str
    shared: float
    only_here: tuple[str, ...]
    only_there: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """Everything there is to say about a method at its defaults; `refused` has a reason for each task."""

    name: str
    version: int
    source: str
    text: str
    stages: tuple[str, ...]
    parts: tuple[Part, ...]
    needs: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    trains_on: tuple[str, ...]
    refused: dict[str, str]
    relatives: tuple[Relative, ...]


def explain(name: str) -> Explanation:
    """Explain a registered method or a composition (`lora+grpo`); UserError with the nearest match for neither."""
    entry = find_method(name)
    pipeline = entry.create()
    answers = {task: refusal(pipeline, one.create()) for task, one in tasks().items()}
    return Explanation(
        name=name,
        version=entry.version,
        source=entry.source,
        text=_text(entry),
        stages=tuple(stage_name(stage) for stage in pipeline.stages),
        parts=tuple(_parts(pipeline)),
        needs=tuple(sorted(_needs(pipeline))),
        parameters=tuple(entry.parameters.values()),
        trains_on=tuple(task for task, reason in answers.items() if reason is None),
        refused={task: reason for task, reason in answers.items() if reason is not None},
        relatives=tuple(_relatives(name, pipeline)),
    )


def _text(entry: Entry[Any]) -> str:
    """The docstrings of the recipe's file and function, each once."""
    found = []
    for one in (inspect.getmodule(entry.build), entry.build):
        said = inspect.getdoc(one) if one is not None else None
        if (
            said
            and said not in found
            and not (inspect.ismodule(one) and not one.__name__.startswith("methods.recipes"))
        ):
            found.append(said)
    return "\n\n".join(found) or entry.summary


def _parts(pipeline: Pipeline) -> list[Part]:
    said = {kind: components(f"{kind}s") for kind in ("objective", "parameterisation", "optimiser")}
    return [
        Part(number, kind, name, said.get(kind, {}).get(name, ""))
        for number, stage in enumerate(pipeline.stages, start=1)
        for kind, name in _choices(stage)
    ]


def _choices(stage: Stage) -> list[tuple[str, str]]:
    if isinstance(stage, Train):
        kinds = ("objective", "parameterisation", "optimiser")
        return [(kind, str(getattr(stage, kind).name)) for kind in kinds]
    return [("step", str(stage.name))]


def _needs(pipeline: Pipeline) -> set[str]:
    """What a task must offer: what each stage learns from, and demonstrations where worked examples are shown."""
    found = {"demonstrations"} if pipeline.few_shot else set()
    for stage in pipeline.stages:
        found |= set(getattr(stage.objective if isinstance(stage, Train) else stage, "needs", ()))
    return found


def _relatives(name: str, pipeline: Pipeline) -> list[Relative]:
    here = _names(pipeline)
    found = []
    for other, entry in methods().items():
        there = _names(entry.create())
        if other != name and here & there:
            shared = len(here & there) / len(here | there)
            found.append(Relative(other, shared, tuple(sorted(here - there)), tuple(sorted(there - here))))
    return sorted(found, key=lambda one: (-one.shared, one.name))[:NEAREST]


def _names(pipeline: Pipeline) -> set[str]:
    return {name for stage in pipeline.stages for _, name in _choices(stage)}
