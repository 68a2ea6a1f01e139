"""The untouched start model, zero-shot: the row that every comparison must have."""

from __future__ import annotations

from harness.contracts import Pipeline
from harness.registry import method


@method("base", version=1)
def base() -> Pipeline:
    """The untouched start model, zero-shot."""
    return Pipeline()
