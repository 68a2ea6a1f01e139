"""In context: the untouched base model, with each item's description or document in its prompt."""

from __future__ import annotations

from typing import Annotated, Literal

from harness.contracts import Pipeline
from harness.registry import method

Beyond = Annotated[
    Literal["whole", "cut"], "a text beyond the model's window: read whole all the same, or only its beginning"
]


@method(
    "in-context", version=1, source="baseline of Charakorn et al. 2025, arXiv 2506.06105, and 2026, arXiv 2602.15902"
)
def in_context(beyond: Beyond = "whole") -> Pipeline:
    """The text in the prompt: what a generated adapter is to put into the weights instead."""
    return Pipeline(told=True, cut=beyond == "cut")
