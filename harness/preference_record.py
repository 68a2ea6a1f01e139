"""A vote of a person between two answers to the same question: what one line of `preferences/SERVER.jsonl` says.

Whoever voted saw the answers as A and B and not whose they were. A line holds everything that the vote was about, and
is written once: the file is only ever appended to, so that the database can be built from it again. Neither torch nor
any method or task is imported.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from harness.contracts import Message
from harness.errors import UserError
from harness.frozen import Frozen
from harness.spec import Component, ModelReference

FOLDER = "preferences"
"""Of the runs directory."""
Choice = Literal["a", "b", "tie", "neither"]


class Candidate(Frozen):
    """One of the two answers."""

    name: str
    """By which it was served."""
    run_id: str | None
    """None is the base model itself."""
    completion: str
    tokens: int | None
    truncated: bool
    """Whether it was cut off at the token limit."""


class Asked(Frozen):
    """How both were sampled."""

    temperature: float
    top_p: float
    max_new_tokens: int
    stop: str | None
    seed: int


class Preference(Frozen):
    """One vote; A is what stood first."""

    schema_version: int = 1
    vote: str
    """Its identity, drawn when the pair was."""
    server: str
    at: float = Field(ge=0)
    """Seconds since 1970."""
    page: str
    """First digits of the SHA-256 of the page that was voted on."""
    engine: str
    base: ModelReference
    prompt: str | list[Message]
    task: Component | None
    item_id: str | None
    """The question of the task's val split that it was; None for a person's own words."""
    sampling: Asked
    a: Candidate
    b: Candidate
    choice: Choice


def append_preference(path: Path, preference: Preference) -> None:
    """Add a vote to a file, in one write, on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(preference.model_dump(mode="json"), sort_keys=True, allow_nan=False) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_preferences(path: Path) -> list[Preference]:
    """Every vote of a file; a torn last line is left out, any other that is no vote is a UserError."""
    *lines, _ = path.read_bytes().split(b"\n")
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(Preference.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(
                f"Line {number} of {path} is no vote: {f'{where}: ' if where else ''}{first['msg'].lower()}. Mend or "
                "remove it."
            ) from None
    return found
