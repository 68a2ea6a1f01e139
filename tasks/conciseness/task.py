"""The conciseness task of 'ES at Scale': reward is minus the distance of a completion's length to the gold answer's.

r = -|len(completion) - len(gold)| in characters (Qiu et al. 2025, arXiv 2509.24372, section 4.2). The published script
counts the prompt into the length; here the completion alone is counted. Content has no part in that reward, so any
short text wins: correctness is checked beside it, and the divergence from the start model belongs beside both
(`retention` in a sweep file). Level `facts` splits some forty facts, level `paper` trains on two of its questions, as
the paper does on two prompts. It is knowledge that the shipped lab models do not have (0 of 16 val questions): no lab
level.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from harness.contracts import Grade, Item, Offer, Prompt
from harness.errors import unknown
from harness.registry import task
from tasks.conciseness.questions import QUESTIONS, Question
from tasks.pool import Fixed, content_id, split_of

LEVELS = ("facts", "paper")
_SHARES = {"test": 0.4, "val": 0.25, "train": 0.35}
_WORDS = re.compile(r"[a-z0-9]+")
_LONGEST_READ = 500
Style = Literal["plain", "chat"]
Reward = Literal["length", "correct"]


@task("conciseness", version=1, source="Qiu et al. 2025, arXiv 2509.24372, section 4.2", levels=LEVELS)
class Conciseness:
    """Answer in as few characters as the gold answer has."""

    name: str
    version: int
    offers: frozenset[Offer] = frozenset({"demonstrations", "verifier"})
    max_new_tokens = 100
    stop: str | None = None

    def __init__(
        self,
        level: Annotated[str, "facts, or paper for two training questions"] = "facts",
        style: Annotated[Style, "plain text, or a user message for chat models"] = "plain",
        reward: Annotated[Reward, "what training sees: the paper's length, or correctness"] = "length",
    ) -> None:
        if level not in LEVELS:
            raise unknown("level of conciseness", level, LEVELS)
        self.level, self.style, self.reward = level, style, reward
        self._items = Fixed(self.name, _splits(level))

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first `n` questions of a split; UserError for an unknown split or more than there are."""
        return self._items.items(split, n)

    def prompt(self, item: Item) -> Prompt:
        """The question."""
        question = item.data["question"]
        return f"Question: {question}\nAnswer:" if self.style == "plain" else [{"role": "user", "content": question}]

    def grade(self, item: Item, completion: str) -> Grade:
        """Correct if the words of the first line are those of the gold answer; the reward may be the length's."""
        text, gold = completion.strip(), item.data["answer"]
        first = text[:_LONGEST_READ].partition("\n")[0].strip()
        right = (
            bool(first) and len(first) < _LONGEST_READ and _WORDS.findall(first.lower()) == _WORDS.findall(gold.lower())
        )
        excess = len(text) - len(gold)
        reward = float(right) if self.reward == "correct" else 0.0 - abs(excess)
        reason = "ok" if right else "wrong" if text else "empty"
        measures = {"characters": float(len(text)), "excess": float(excess)}
        return Grade(right, reward, bool(text), reason, first[:200] or None, measures)

    def demonstration(self, item: Item) -> str:
        """The gold answer."""
        return f" {item.data['answer']}"


def _splits(level: str) -> dict[str, list[Item]]:
    """Questions by split, each fact in one of them, in the order of their ids."""
    found: dict[str, list[Item]] = {"train": [], "val": [], "test": []}
    for fact in QUESTIONS:
        split = split_of("conciseness", fact.asked[0], _SHARES)
        found[split] += _items(fact, split)
    ordered = {split: sorted(items, key=lambda item: item.id) for split, items in found.items()}
    if level == "paper":
        ordered["train"] = ordered["train"][:2]
    return ordered


def _items(fact: Question, split: str) -> list[Item]:
    return [
        Item(content_id("conciseness", asked), split, {"question": asked, "answer": fact.answer})
        for asked in fact.asked
    ]
