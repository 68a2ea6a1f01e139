"""Word problems W0 to W5: from one step with small numbers to stories of several people, prices and percentages.

A problem's canonical key is its values and the kinds of its steps, not its wording: it decides split and identity, and
none that a base model was pre-trained on is asked at any level. Answers are whole numbers from 1 to 999, worked in
steps that end in `#### N`, and are graded as GSM8K's are: `strict` and `flexible` are reported side by side.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from harness.contracts import Grade, Item, Offer, Prompt
from harness.errors import unknown
from harness.registry import task
from tasks.gsm8k.answer import Rule
from tasks.gsm8k.verdict import judge
from tasks.pool import Pool
from tasks.words.chain import draw
from tasks.words.levels import LEVELS, Level
from tasks.words.program import equations
from tasks.words.story import draw_story
from tasks.words.wording import ask, tell, worked

Style = Literal["plain", "chat"]
_CHAT_TOKENS = 512
REQUEST = "Work it out step by step and end with a line '#### N', where N is the answer as a number alone."


@task("words", version=1, levels=tuple(LEVELS), lab=("lab", "W2"))
class Words:
    """Solve a generated word problem in worked steps that end in `#### N`."""

    name: str
    version: int
    offers: frozenset[Offer] = frozenset({"demonstrations", "verifier"})

    def __init__(
        self,
        level: Annotated[str, "difficulty W0 to W5"] = "W2",
        style: Annotated[Style, "plain text, or a user message for chat models"] = "plain",
        answer: Annotated[Rule, "what counts: a marked number, or else the last number too"] = "strict",
    ) -> None:
        if level not in LEVELS:
            raise unknown("level of words", level, LEVELS)
        self.level: Level = LEVELS[level]
        self.style, self.answer = style, answer
        self.stop: str | None = "question:" if style == "plain" else None
        self.max_new_tokens = self.level.max_new_tokens if style == "plain" else _CHAT_TOKENS
        self._pool = Pool(self.name, self.version, level, self._draw)

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first `n` problems of a split."""
        return self._pool.items(split, n)

    def prompt(self, item: Item) -> Prompt:
        """The problem in words."""
        problem = item.data["problem"]
        return ask(problem) if self.style == "plain" else [{"role": "user", "content": f"{problem}\n{REQUEST}"}]

    def grade(self, item: Item, completion: str) -> Grade:
        """Right if its number is the answer; the measures `strict` and `flexible` hold both readings."""
        return judge(completion, str(item.data["answer"]), self.answer, self.stop)

    def demonstration(self, item: Item) -> str:
        """Each step as an equation, then `#### N`."""
        answer = worked(equations(item.data["program"]), item.data["answer"])
        return answer if self.style == "plain" else answer.strip()

    def _draw(self, rng: random.Random) -> tuple[str, dict[str, Any]] | None:
        if self.level.within is None:
            story = draw_story(rng, self.level.asides)
            return story and (story.key, {"problem": story.text, "program": story.program, "answer": story.answer})
        chain = draw(rng, self.level.within)
        data = {"problem": tell(rng, chain, self.level.asides), "program": chain.program, "answer": chain.values[-1]}
        return chain.key, data
