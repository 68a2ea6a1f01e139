"""Graders of free text by name: what a user's own task (`jsonl`) is graded with.

A grader compares a completion with one or more gold answers. All of them are pure, except the judge, which asks a model
at an address.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from harness.contracts import Grade
from harness.errors import UserError
from tasks.graders.judge import Judge
from tasks.graders.overlap import Overlap, bleu, rouge_l, squad_f1
from tasks.graders.same import Exact, Math, Numeric, Regex

Name = Literal["exact", "numeric", "math", "regex", "f1", "rouge-l", "bleu", "judge"]


class Grader(Protocol):
    """Compares completions with gold answers."""

    checks_gold: bool
    """Whether a gold answer can be tried on it beforehand, at no cost."""

    def grade(self, question: str, answers: Sequence[str], completion: str) -> Grade: ...

    def demonstration(self, answer: str) -> str:
        """The gold answer in the form that the grader reads."""
        ...


@dataclass(frozen=True)
class Settings:
    """What graders can be told; each takes what is its own and refuses the rest."""

    pattern: str | None = None
    threshold: float | None = None
    judge_url: str | None = None
    judge_model: str | None = None
    judge_key: str | None = None


def make_grader(name: Name, settings: Settings) -> Grader:
    """The grader of that name; UserError for a setting that it lacks or that belongs to another."""
    takes: dict[str, tuple[str, ...]] = {
        "regex": ("pattern",),
        **dict.fromkeys(("f1", "rouge-l", "bleu"), ("threshold",)),
        "judge": ("judge_url", "judge_model", "judge_key"),
    }
    for setting, value in vars(settings).items():
        if value is not None and setting not in takes.get(name, ()):
            owners = " or ".join(grader for grader, theirs in takes.items() if setting in theirs)
            raise UserError(f"{setting} belongs to the grader {owners}, the grader here is {name}.")
    threshold = 0.5 if settings.threshold is None else settings.threshold
    makers: dict[str, Callable[[], Grader]] = {
        "exact": Exact,
        "numeric": Numeric,
        "math": Math,
        "regex": lambda: Regex(settings.pattern),
        "f1": lambda: Overlap("f1", squad_f1, threshold),
        "rouge-l": lambda: Overlap("rouge-l", rouge_l, threshold),
        "bleu": lambda: Overlap("bleu", bleu, threshold),
        "judge": lambda: Judge(settings.judge_url, settings.judge_model, settings.judge_key),
    }
    return makers[name]()
