"""How large an update of an objective is, where only the objective can say: for plans that are made before any run.

An objective whose batches do not follow from `batch_size` and the task's prompts and answers has
`update_size(planned)`, which looks at the task's texts and at no weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Planned:
    """What an objective may look at."""

    task: Any
    tokens: Callable[[Any], int]
    """Of a prompt or a text."""
    window: int
    """Positions that the model has."""
    evaluated: Mapping[str, int]
    """Items that are asked of each split, at the end or for the learning curve."""
    parameterisation: Any


@dataclass(frozen=True)
class UpdateSize:
    """One update, on average over the budget; every figure may be a mean."""

    rows: float
    """Sequences that are learnt from."""
    tokens: float
    """Of each."""
    chunks: tuple[int, ...] = ()
    """Tokens of each chunk that a generator reads."""
    updates: int | None = None
    """After which the stage ends by itself."""
    written: int = 0
    """Texts that a generator writes for beside these rows."""
    taught: float = 0.0
    """Prompts that a teacher answers before the first update."""
    taught_tokens: float = 0.0
    """Of each."""
