"""Stored answers of another run or model: what a finished run sampled on training questions, or a JSONL file of traces.

Of a finished run only the rollouts that it sampled for training are read, never the answers of its evaluation: those
are to questions of val or test. A JSONL file has rows `prompt`, `completion` (text, or messages in TRL's form) or
`messages` that end with the assistant's turn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contracts import Prompt
from harness.errors import UserError
from harness.events import read_events
from harness.parameters import DataPath
from harness.record import RunDirectory
from methods.objectives.teacher import finished_run


class TracePath(DataPath):
    """Marks a parameter that names traces; their content stands for them, not the place."""

    def digest(self, place: Any) -> str:
        """SHA-256 of the JSONL file, or of the rollouts of a finished run."""
        run = finished_run(str(place))
        if run is None:
            return super().digest(place)
        digest = hashlib.sha256()
        for file in _rollout_files(run):
            digest.update(file.read_bytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Trace:
    """An answer and what it answers: a training item by its id (of a run's task), or a prompt (of a file)."""

    completion: str
    item: str | None = None
    prompt: Prompt | None = None


def read_traces(place: str) -> list[Trace]:
    """All traces of a finished run or a JSONL file, cut-off ones left out; UserError for what cannot be read."""
    run = finished_run(place)
    if run is None:
        return list(_of_file(Path(place)))
    rows = [row for file in _rollout_files(run) for row in json.loads(file.read_text())["rows"]]
    return [Trace(row["text"], item=row["item"]) for row in rows if "item" in row and not row["truncated"]]


def _rollout_files(run: RunDirectory) -> list[Path]:
    """The rollouts that a run noted; UserError if it has none, or if they are no longer beside it."""
    names = sorted({event["file"] for event in read_events(run.events) if event["kind"] == "rollouts"})
    files = [run.rollouts / name for name in names]
    if not files:
        raise UserError(
            f"The run {run.path} stored no answers to training questions (methods that sample first do: rft, dpo, "
            f"distill-seq); let its model answer them instead: distill-seq with teacher={run.path}."
        )
    gone = next((file for file in files if not file.exists()), None)
    if gone is not None:
        raise UserError(f"The rollouts {gone} of the run {run.path} are no longer there: give a JSONL of traces.")
    return files


def _of_file(file: Path) -> Iterator[Trace]:
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{file}, line {number}: no JSON: {error}") from None
        found = _trace(row) if isinstance(row, dict) else None
        if found is None:
            raise UserError(
                f"{file}, line {number}: a trace has prompt and completion, or messages that end with the assistant's."
            )
        yield found


def _trace(row: dict[str, Any]) -> Trace | None:
    prompt, answer = row.get("prompt"), row.get("completion")
    if "messages" in row:
        turns = row["messages"]
        if not _messages(turns) or len(turns) < 2 or turns[-1]["role"] != "assistant":
            return None
        prompt, answer = turns[:-1], turns[-1]["content"]
    if _messages(answer):
        answer = answer[-1]["content"]
    known = isinstance(prompt, str) or _messages(prompt)
    return Trace(answer, prompt=prompt) if known and isinstance(answer, str) else None


def _messages(value: Any) -> bool:
    """Whether this is a conversation: a list of turns with a role and a text."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, dict) and isinstance(turn.get("content"), str) and "role" in turn for turn in value)
    )
