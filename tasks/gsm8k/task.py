"""GSM8K (Cobbe et al. 2021): worked answers to grade-school problems, ending in `#### N`, graded by their number.

`plain` with shots=5 and annotations=True has the form of lm-eval's `gsm8k` (other examples, chosen by their hash). Its
filters differ from our `strict` and `flexible` (see `tasks.gsm8k.answer`): they take the first `####` and compare text,
so 18.00 or $18 is not 18 there. Shots are training items and left out of train.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from harness.contracts import Grade, Item, Offer, Prompt
from harness.errors import UserError
from harness.parameters import DataPath
from harness.registry import task
from tasks.gsm8k.answer import Rule
from tasks.gsm8k.rows import clean, load_splits, read_splits
from tasks.gsm8k.verdict import judge
from tasks.pool import Fixed

Style = Literal["plain", "chat"]
_REVISION = "cc7b047b6e5bb11b4f1af84efc572db110a51b3c"
_MOST_TOKENS = {"plain": 512, "chat": 1024}
REQUEST = "Work it out step by step and end with a line '#### N', where N is the answer as a number alone."


@task("gsm8k", version=1, source="Cobbe et al. 2021, arXiv 2110.14168; MIT licence")
class GSM8K:
    """Solve a grade-school word problem in worked steps that end in `#### N`."""

    name: str
    version: int
    offers: frozenset[Offer] = frozenset({"demonstrations", "verifier"})

    def __init__(
        self,
        data: Annotated[
            str | None, DataPath(), "folder with train.jsonl and test.jsonl, in place of the Hub's openai/gsm8k"
        ] = None,
        revision: Annotated[str, "commit of openai/gsm8k on the Hub"] = _REVISION,
        style: Annotated[Style, "plain text, or a user message for chat models"] = "plain",
        shots: Annotated[int, Field(ge=0, le=16), "worked training items put before each question"] = 0,
        answer: Annotated[Rule, "what counts: a marked number, or else the last number too"] = "strict",
        annotations: Annotated[bool, "keep <<48/2=24>> in demonstrations and shots"] = False,
    ) -> None:
        self.style, self.shots, self.answer, self.annotations = style, shots, answer, annotations
        self.stop: str | None = "Question:" if style == "plain" else None
        self.max_new_tokens = _MOST_TOKENS[style]
        self._place, self._revision = data, revision

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first `n` items in the order of the files; UserError for bad data, or if there is none."""
        return self._items.items(split, n)

    def prompt(self, item: Item) -> Prompt:
        """The shots and the question."""
        if self.style == "plain":
            shown = "".join(f"{_ask(shot)}{self.demonstration(shot)}\n\n" for shot in self._shown)
            return shown + _ask(item)
        turns = []
        for shot in self._shown:
            turns.append({"role": "user", "content": f"{shot.data['question']}\n{REQUEST}"})
            turns.append({"role": "assistant", "content": self.demonstration(shot)})
        return [*turns, {"role": "user", "content": f"{item.data['question']}\n{REQUEST}"}]

    def grade(self, item: Item, completion: str) -> Grade:
        """Right if its number is the gold one; the measures `strict` and `flexible` hold both readings."""
        return judge(completion, item.data["gold"], self.answer, self.stop)

    def demonstration(self, item: Item) -> str:
        """The worked answer of the data set."""
        worked = item.data["answer"] if self.annotations else clean(item.data["answer"])
        return f" {worked}" if self.style == "plain" else worked

    @cached_property
    def _rows(self) -> dict[str, list[Item]]:
        return read_splits(Path(self._place)) if self._place is not None else load_splits(self._revision)

    @cached_property
    def _shown(self) -> list[Item]:
        """The shots: the training items with the smallest ids, so that they do not depend on the file's order."""
        train = self._rows["train"]
        if self.shots >= len(train):
            raise UserError(f"gsm8k has {len(train)} training items, too few for shots={self.shots}: ask for fewer.")
        return sorted(train, key=lambda item: item.id)[: self.shots]

    @cached_property
    def _items(self) -> Fixed:
        shown = {shot.id for shot in self._shown}
        train = [item for item in self._rows["train"] if item.id not in shown]
        return Fixed(self.name, {**self._rows, "train": train})


def _ask(item: Item) -> str:
    return f"Question: {item.data['question']}\nAnswer:"
