"""In context: the untouched base model, with each item's description or document in its prompt."""

from __future__ import annotations

from harness.contracts import Pipeline
from harness.registry import method


@method("in-context", version=1, source="a baseline of Charakorn et al. 2025, arXiv 2506.06105, table 2")
def in_context() -> Pipeline:
    """The text in the prompt: what a generated adapter is to put into the weights instead."""
    return Pipeline(told=True)
