"""A recipe of a published experiment, `papers/*.yaml`: the paper's setting as a sweep, and its twin for the lab.

A recipe says which device the paper's setting takes, in what it deviates from the paper all the same, and which arm
stands for which reported figure (results/reported). `sweep` leaves the model open: `models` maps what can be given to
the name that the paper's table uses; `needs` says what data the user has to have. `lab` is the same question at a size
that two cores can answer, on the model `lab` unless it names another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from harness.document import Document, Place
from harness.errors import UserError, unknown
from harness.spec import Frozen
from sweeps.file import MethodChoice, SweepFile, TaskChoice, parse_sweep


class Figure(Frozen):
    """A reported figure: the keys that find its row for a model."""

    where: str
    method: str
    metric: str = "accuracy"
    task: str | None = None
    """The task as the reported row has it, where the sweep's is another."""
    differs: str | None = None
    """Why it cannot be compared even in the paper's setting."""


class Needed(Frozen):
    """Data that no package and no hub has for us: the paper's setting cannot be planned without them."""

    what: str = Field(min_length=1)
    """Says what the file or folder must be."""
    parameter: str = "data"
    """Of the task, that takes its path."""


class Header(Frozen):
    """What a recipe file says."""

    paper: str
    experiment: str = Field(min_length=1)
    models: dict[str, str] = Field(min_length=1)
    """The first is the one that is run when none is named."""
    needs: Needed | None = None
    """What the paper's setting reads from a file of the user's."""
    device: str = Field(min_length=1)
    deviations: tuple[str, ...] = Field(min_length=1)
    reported: dict[str, Figure] = Field(min_length=1)
    """By the label of the arm that stands for it."""
    sweep: dict[str, Any]
    lab: dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """A recipe by its key, with the file that it is read from."""

    key: str
    header: Header
    document: Document

    def paper(self, model: str | None = None, data: str | None = None) -> tuple[SweepFile, Document]:
        """The paper's setting on one of its models and, where it `needs` them, the user's data.

        UserError for a model that is not among them, and for data where none are read. Without data that are needed
        the setting can be looked at, not run.
        """
        models = self.header.models
        chosen = model if model is not None else next(iter(models))
        if chosen not in models:
            raise unknown(f"model of {self.key}", chosen, models)
        part = self.document.part("sweep")
        short = re.sub(r"[^a-z0-9]+", "-", models[chosen].rpartition("/")[2].lower())
        file, needs = parse_sweep(part, f"{self.key}-{short}", model=chosen), self.header.needs
        if data is None:
            return file, part
        if needs is None:
            raise UserError(f"{self.key} has its data from where its task has them: leave --data out.")
        parameters = {**file.task.parameters, needs.parameter: data}
        return file.model_copy(update={"task": TaskChoice(name=file.task.name, parameters=parameters)}), part

    def lab(self) -> tuple[SweepFile, Document]:
        """The twin for the lab."""
        part = self.document.part("lab")
        return parse_sweep(part, f"{self.key}-lab", model="lab"), part


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file; UserError with its line for whatever is wrong with it."""
    document = Document.read(path)
    if not isinstance(document.data, dict):
        raise UserError(f"{document.name} holds no keys; a recipe has {', '.join(Header.model_fields)}.")
    try:
        recipe = Recipe(path.stem, Header(**document.data), document)
    except ValidationError as error:
        raise UserError(document.sentence(error, "a recipe", _keys)) from None
    for file, _ in (recipe.paper(), recipe.lab()):
        labels = [choice.label for choice in file.methods]
        for label in recipe.header.reported:
            if label not in labels:
                raise UserError(f"{document.where(('reported', label))}: {unknown('arm', label, labels)}")
    return recipe


def differences(paper: SweepFile, lab: SweepFile) -> list[str]:
    """Every setting in which two sweeps differ, as `what: paper's -> lab's`."""
    first, second = dict(_settings(paper)), dict(_settings(lab))
    names = list(dict.fromkeys([*first, *second]))
    return [
        f"{name}: {first.get(name, 'default')} -> {second.get(name, 'default')}"
        for name in names
        if first.get(name) != second.get(name)
    ]


def _settings(file: SweepFile) -> Iterator[tuple[str, Any]]:
    yield "model", file.model
    yield "task", file.task.name
    yield from ((f"task {name}", value) for name, value in file.task.parameters.items())
    yield from ((f"budget {name}", f"{value:g}") for name, value in file.budget.limits().items())
    yield "trials", file.tune.trials
    yield "tuning items", file.tune.items
    yield "final seeds", len(file.final.seeds)
    yield "final items", file.final.items
    yield from ((name.replace("_", " "), value) for name, value in file.evaluation.model_dump().items())
    for choice in file.methods:
        yield f"arm {choice.label}", choice.name
        yield from ((f"{choice.label} {name}", value) for name, value in choice.parameters.items())
        yield from ((f"{choice.label} search of {name}", text) for name, text in _searched(choice))


def _searched(choice: MethodChoice) -> Iterator[tuple[str, str]]:
    for name, place in choice.search.items():
        yield name, str(place.choices) if place.choices is not None else f"{place.low:g} to {place.high:g}"


def _keys(place: Place) -> list[str]:
    parts: dict[str | int, type[BaseModel]] = {"reported": Figure, "needs": Needed}
    return list(parts.get(place[0] if place else "", Header).model_fields)
