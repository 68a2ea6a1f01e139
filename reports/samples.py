"""The sample browser: one question, and what every method answered to it side by side, with the grades.

The questions are the first of the split, none is picked; the answers are the first sample of the first final run. Both
are cut short so that the page stays small, and the page says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.prompts import readable
from results.database import connect

QUESTIONS = 20
CHARACTERS = 500
"""Of a question or an answer: what is shown of it."""


@dataclass(frozen=True)
class Answer:
    """What a method wrote first, and how it was graded."""

    method: str
    completion: str
    correct: bool
    verdict: str
    """`right`, or `wrong` and the grader's reason; the reward, and whether it was cut off."""


@dataclass(frozen=True)
class Question:
    """An item of the split with its answers in the order of the sweep's methods."""

    number: int
    item_id: str
    prompt: str
    answers: tuple[Answer, ...]

    @property
    def right(self) -> int:
        return sum(answer.correct for answer in self.answers)


def read_samples(database: Path, sweep: str, questions: int = QUESTIONS) -> list[Question]:
    """The first questions of the final evaluation; empty where no final run has finished."""
    with connect(database) as connection:
        rows = connection.execute(
            "SELECT s.item_index, s.item_id, s.prompt, f.method, s.completion, s.correct, s.reward, s.reason, "
            "s.truncated FROM finals f JOIN runs r USING (run_id) JOIN samples s USING (run_id) "
            "JOIN arms a ON a.sweep = f.sweep AND a.method = f.method "
            "WHERE f.sweep = ? AND f.position = 0 AND r.status = 'done' AND s.sample = 0 AND s.item_index < ? "
            "ORDER BY s.item_index, a.position",
            [sweep, questions],
        ).fetchall()
    found: dict[int, list[tuple[Any, ...]]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(row)
    return [
        Question(index + 1, its[0][1], _short(readable(its[0][2])), tuple(_answer(*row[3:]) for row in its))
        for index, its in found.items()
    ]


def _answer(method: str, text: str, correct: bool, reward: float, reason: str | None, truncated: bool) -> Answer:
    said = ["right" if correct else "wrong"]
    if not correct and reason:
        said.append(reason)
    said.append(f"reward {reward:.3g}")
    if truncated:
        said.append("cut off at the token limit")
    return Answer(method, _short(text), bool(correct), ", ".join(said))


def _short(text: str) -> str:
    return text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]} … ({len(text) - CHARACTERS:,} more characters)"
