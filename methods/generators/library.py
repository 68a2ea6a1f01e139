"""A library of trained task adapters: the finished runs in a runs directory, each with its task's descriptions.

Or those of the stage before, which trained one for each described task that the run learns from.

A run of one described task alone (`beyondrl run --method rslora+sft --task instructions -t only=ends+mirror`) is an
entry: its adapter, and the descriptions that its task gives in training. Unfinished runs and those without an adapter
are passed over. The weights and tasks of its entries, not its place, are the library's identity.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness.adapters import is_adapter
from harness.errors import UserError
from harness.lora_files import LoraAdapter
from harness.parameters import DataPath
from harness.record import RunDirectory, all_runs
from harness.spec import ModelReference

if TYPE_CHECKING:
    from harness.context import StageContext


class LibraryPath(DataPath):
    """Marks a parameter that names a runs directory; its adapters stand for it."""

    def digest(self, place: Any) -> str:
        """SHA-256 over the weights and tasks of the runs with an adapter."""
        digest = hashlib.sha256()
        for run in _entries(Path(place)):
            task = run.read_spec().task.content()
            digest.update(f"{run.read_result().weights_digest} {sorted(task.items())}\n".encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class LibraryEntry:
    """An adapter and what its task is called in words."""

    descriptions: tuple[str, ...]
    adapter: LoraAdapter


def read_library(place: str, model: ModelReference, examples: int) -> list[LibraryEntry]:
    """The entries of a runs directory; UserError for an adapter of another base, or of several described tasks."""
    from harness.registry import find_task

    found = []
    for run in _entries(Path(place)):
        spec = run.read_spec()
        if spec.model.revision != model.revision:
            raise UserError(f"The adapter of {run.path} is for {spec.model.name!r}, not for {model.name!r}.")
        task: Any = find_task(spec.task.name).create(**spec.task.parameters)
        described = task.described("train", examples) if "descriptions" in task.offers else []
        if len(described) != 1:
            raise UserError(
                f"The run {run.path} learnt {len(described)} described tasks: a library holds runs of one each, "
                "such as --task instructions -t only=TASK."
            )
        found.append(LibraryEntry(tuple(described[0].descriptions), LoraAdapter.read(run.model)))
    return found


def library_size(place: str) -> int:
    """How many entries a runs directory has; UserError if there is none."""
    return len(_entries(Path(place)))


def trained_before(stage: StageContext, examples: int) -> list[LibraryEntry]:
    """The entries that the stage before has trained, with the descriptions in the first `examples` training items.
    UserError where that stage trained none."""
    from methods.generators.adapter_table import name_of

    there, task = stage.policy.model.learns_from, cast("Any", stage.task)
    if not there:
        raise UserError("There is no library to learn from: name one, or let the stage before train it.")
    texts = [tuple(one.descriptions) for one in task.described("train", examples)]
    return [LibraryEntry(group, there[name_of(group[0])]) for group in texts if group and name_of(group[0]) in there]


def _entries(place: Path) -> list[RunDirectory]:
    """The finished runs with an adapter, in a stable order; UserError if there is none."""
    found = [run for run in all_runs(place) if run.status() == "done" and is_adapter(run.model)]
    if not found:
        raise UserError(f"{place} is no runs directory with a finished run that trained an adapter.")
    return found
