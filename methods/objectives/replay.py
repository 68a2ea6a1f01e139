"""Replay: a share of the rows that are trained on come from something else, so that it is not forgotten.

The rows are demonstrations of another task's training split (a task by its name, or by `{name: ..., parameter: ...}`),
of a JSONL file or folder of your own (read by the task `jsonl`), or the passages of a text file, parted by blank lines.
They are taken in order and, if there are too few, again from the first. What they are enters a run's identity.
Sane shares are 0.05 to 0.3, for full training and adapters alike (Ibrahim et al. 2024, arXiv 2403.08763, section 6).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.parameters import DataPath
from harness.registry import find_task, task_families, tasks

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness.contracts import Task

Row = dict[str, Any]
_TEXT = (".txt", ".md")


class ReplaySource(DataPath):
    """Marks a parameter that names what is replayed; a task's version, parameters and data stand for it."""

    def digest(self, place: Any) -> str:
        """SHA-256 of a text file, or of a task's resolved description."""
        if _is_text(place):
            return super().digest(place)
        name, parameters = _named(place)
        content = find_task(name).resolve(parameters).content()
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Replay:
    """`share` of all rows, from 0 (none) to 0.5, are from `source`."""

    share: float = 0.0
    source: str | dict[str, Any] | None = None

    def refuses(self) -> str | None:
        """Why these rows cannot be had, if so."""
        if not self.share:
            return None
        if self.source is None:
            return f"replay={self.share:g} needs replay_task, a task's name or the path of a JSONL or text file"
        if _is_text(self.source):
            return None
        task = _task(self.source)
        return None if "demonstrations" in task.offers else f"replay_task {task.name!r} offers no demonstrations"

    @property
    def asks(self) -> bool:
        """Whether what is replayed are questions; the passages of a text file are none."""
        return not (self.share and _is_text(self.source))

    def rows(self, stage: StageContext, beside: int) -> list[Row]:
        """Rows `prompt`, `completion` to be mixed with `beside` others; the prompt of a passage of text is empty."""
        if not self.share or self.source is None:
            return []
        wanted = max(1, round(beside * self.share / (1 - self.share)))
        found = _passages(stage, self.source) if _is_text(self.source) else _demonstrations(_task(self.source), wanted)
        if not found:
            raise UserError(f"replay_task {self.source!r} has nothing to replay.")
        stage.run.events.write("replay", rows=wanted, beside=beside, different=min(wanted, len(found)))
        return list(islice(cycle(found), wanted))

    def describe(self) -> dict[str, Any]:
        return {"replay": f"{self.share:.0%} of the rows from {self.source}"} if self.share else {}


NO_REPLAY = Replay()


def _is_text(source: Any) -> bool:
    return isinstance(source, str) and Path(source).suffix in _TEXT


def _named(source: Any) -> tuple[str, dict[str, Any]]:
    """The task that a source stands for and its parameters; UserError for what is neither a task nor a file."""
    if isinstance(source, dict):
        if not isinstance(source.get("name"), str):
            raise UserError(f"replay_task is a name, a path, or {{name: TASK, parameter: value}}, not {source!r}.")
        return source["name"], {key: value for key, value in source.items() if key != "name"}
    known = {**tasks(), **task_families()}
    if source.partition(":")[0] not in known and (Path(source).exists() or Path(source).suffix == ".jsonl"):
        return "jsonl", {"data": source}
    return source, {}


def _task(source: Any) -> Task:
    name, parameters = _named(source)
    return find_task(name).create(**parameters)


def _demonstrations(task: Task, wanted: int) -> list[Row]:
    from methods.objectives.dataset import completion_columns

    return [completion_columns(task.prompt(item), task.demonstration(item)) for item in task.items("train", wanted)]


def _passages(stage: StageContext, source: Any) -> list[Row]:
    """The passages of a text file, cut where they are longer than the model's window."""
    tokenizer, window = stage.policy.tokenizer, int(stage.policy.model.config.max_position_embeddings)
    rows = []
    for passage in re.split(r"\n\s*\n", Path(str(source)).read_text()):
        ids = tokenizer(passage.strip(), add_special_tokens=False, verbose=False).input_ids
        for start in range(0, len(ids), window - 1):  # one place is left for the end token
            rows.append({"prompt": "", "completion": tokenizer.decode(ids[start : start + window - 1])})
    return rows
