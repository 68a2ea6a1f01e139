"""The untouched base model with solved training items before each question."""

from __future__ import annotations

from harness.contracts import Pipeline
from harness.registry import method
from methods.settings import Shots


@method("few-shot", version=1, source="Brown et al. 2020, arXiv 2005.14165, section 2")
def few_shot(shots: Shots = 4) -> Pipeline:
    """In-context learning: no update, `shots` demonstrations in every prompt."""
    return Pipeline(few_shot=shots)
