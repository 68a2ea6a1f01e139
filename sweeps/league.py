"""A league: one sweep file over several tasks, and so several sweeps with the same methods, budgets and tuning.

Where a sweep has `task`, a league has `tasks`, a list. Every entry holds a `task` and, where that task needs another
model, budget or evaluation, any other key of a sweep in place of the file's own; `as` names it (the task's name if
left out). The entry countdown of the league `league` is the sweep `league-countdown`, with a report of its own; the
report across them has the league's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.document import Document, Place
from harness.errors import UserError
from sweeps.file import SweepFile, parse_sweep

_BASELINE = "base"
_FEWEST = 3


@dataclass(frozen=True)
class League:
    """The sweeps of one file, each with the document that it was read from; a single one without `across`."""

    members: tuple[tuple[SweepFile, Document], ...]
    across: str | None = None
    """Name of the report across them."""


def read_league(path: Path) -> League:
    """The sweeps in a file, be it of one task or of several; UserError for whatever is wrong with it."""
    document = Document.read(path)
    name = path.stem.lower()
    if not isinstance(document.data, dict) or "tasks" not in document.data:
        return League(((parse_sweep(document, name), document),))
    if "task" in document.data:
        raise UserError(f"{document.where(('task',))}: a file has either task or tasks: keep one.")
    entries, name = document.data["tasks"], str(document.data.get("name", name))
    if not isinstance(entries, list) or len(entries) < 2:
        raise UserError(f"{document.where(('tasks',))}: tasks is a list of two or more; for a single one write task.")
    members = [_member(document, name, position) for position in range(len(entries))]
    names = [member.name for member, _ in members]
    double = next((one for one in names if names.count(one) > 1), None)
    if double is not None:
        raise UserError(
            f"{document.where(('tasks',))}: two tasks make the sweep {double!r}: give one another name with as."
        )
    shared = set.intersection(*({choice.label for choice in member.methods} for member, _ in members))
    if _BASELINE not in shared or len(shared) < _FEWEST:
        raise UserError(
            f"{document.where(('tasks',))}: a report across tasks takes {_BASELINE} and two methods or more that are "
            "in every sweep."
        )
    return League(tuple(members), name)


def _member(document: Document, name: str, position: int) -> tuple[SweepFile, Document]:
    """The sweep of one entry: the file's keys, those of the entry before them."""
    here: Place = ("tasks", position)
    entry = document.data["tasks"][position]
    if not isinstance(entry, dict) or "task" not in entry:
        raise UserError(f"{document.where(here)}: an entry of tasks is {{task: ..., as: ...}}.")
    own = {key: value for key, value in entry.items() if key != "as"}
    data: dict[str, Any] = {key: value for key, value in document.data.items() if key != "tasks"} | own
    task = entry["task"]
    label = entry.get("as", task.get("name") if isinstance(task, dict) else task)
    data["name"] = f"{name}-{label}"
    lines = {place: line for place, line in document.lines.items() if not {*place[:1]} & {"tasks", *own}}
    lines |= {place[2:]: line for place, line in document.lines.items() if place[:2] == here}
    member = Document(document.name, document.text, data, lines)
    return parse_sweep(member, data["name"]), member
