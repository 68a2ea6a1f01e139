"""Graders by the words shared with a gold answer: SQuAD's F1, ROUGE-L, BLEU; right from a threshold on.

Each is computed against every gold answer and the best counts; it is the reward and a measure of its name. Texts are
read up to 2,000 characters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from harness.contracts import Grade
from harness.errors import UserError
from tasks.facts.squad import f1, normalised
from tasks.instructions import rouge

_LONGEST = 2000


class Overlap:
    """A score from 0 to 1, and the threshold from which an answer is right."""

    checks_gold = True

    def __init__(self, name: str, score: Callable[[str, str], float], threshold: float) -> None:
        if not 0 < threshold <= 1:
            raise UserError(f"The threshold of {name} is {threshold}: it must be above 0 and at most 1.")
        self.name, self.score, self.threshold = name, score, threshold

    def grade(self, question: str, answers: Sequence[str], completion: str) -> Grade:
        text = completion.strip()[:_LONGEST]
        if not text:
            return Grade(False, 0.0, False, "empty", None, {self.name: 0.0})
        value = max(self.score(text, answer[:_LONGEST]) for answer in answers)
        right = value >= self.threshold
        return Grade(right, value, True, "ok" if right else "below_threshold", text, {self.name: value})

    def demonstration(self, answer: str) -> str:
        return answer


def squad_f1(answer: str, gold: str) -> float:
    """Rajpurkar et al. 2016, section 6.1; 0 for a gold answer of articles and punctuation alone, which says nothing."""
    return f1(answer, gold) if normalised(gold) else 0.0


def rouge_l(answer: str, gold: str) -> float:
    """Lin 2004; by the package rouge-score."""
    return rouge.rouge_l(answer, gold)


def bleu(answer: str, gold: str) -> float:
    """Sentence BLEU up to the n-grams that there are (Papineni et al. 2002); by the package sacrebleu."""
    return float(_bleu().sentence_score(answer, [gold]).score) / 100


@cache
def _bleu() -> Any:
    try:
        from sacrebleu.metrics import BLEU
    except ImportError:
        raise UserError("BLEU needs the package sacrebleu: pip install 'beyondrl[tasks]'.") from None
    return BLEU(effective_order=True)
