"""ROUGE-L by the rouge-score package: the F-measure of the longest common subsequence of words (Lin 2004)."""

from __future__ import annotations

from functools import cache
from typing import Any

from harness.errors import UserError

_MOST_CHARACTERS = 1000
"""The longest common subsequence takes time by the product of both lengths."""


def rouge_l(answer: str, gold: str) -> float:
    """From 0 to 1; texts are cut at 1,000 characters. UserError where the package is missing."""
    return float(_scorer().score(gold[:_MOST_CHARACTERS], answer[:_MOST_CHARACTERS])["rougeL"].fmeasure)


@cache
def _scorer() -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise UserError("ROUGE-L needs the package rouge-score: pip install 'beyondrl[tasks]'.") from None
    return RougeScorer(["rougeL"])
