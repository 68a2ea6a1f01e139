"""Negative controls: a run whose training signal is destroyed while every cost of it stays.

A comparison that finds a gain must find none where there is nothing to learn. Under a control a method sees its task
through `Controlled`: questions, prompts and the cost of every answer are the task's own, verdicts on training items are
not. Val and test are graded as always, by the task itself.

    shuffled  a verdict on a training answer is a coin thrown for its text (a hash of question and answer, so that equal
              answers agree), a demonstration or a teacher's answer is that of another question, and which of a pair is
              the better one is a coin too
    constant  every training answer is right and earns 1; demonstrations and given pairs stay as they are
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Any, get_args

from harness.contracts import Control, Grade, Item, Prompt, Task
from harness.errors import unknown


class Controlled:
    """`task` under `control`; everything else is the task's own."""

    def __init__(self, task: Task, control: Control, seed: int) -> None:
        self.task = task
        self.control = control
        self.seed = seed
        self.name, self.version, self.offers = task.name, task.version, task.offers
        self.max_new_tokens, self.stop = task.max_new_tokens, task.stop
        self._stranger: dict[str, Item] = {}

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The task's own items."""
        found = self.task.items(split, n)
        self._estrange(split, found)
        return found

    def described(self, split: str, n: int | None = None) -> Sequence[Any]:
        """The task's own described tasks, only where it has some; demonstrations are those of strangers there too."""
        found: Sequence[Any] = self.task.described(split, n)  # type: ignore[attr-defined]
        self._estrange(split, [item for one in found for item in one.items])
        return found

    def prompt(self, item: Item) -> Prompt:
        """The task's own prompt."""
        return self.task.prompt(item)

    def demonstration(self, item: Item) -> str:
        """The demonstration of `item`, or under `shuffled` in training that of another item."""
        return self.task.demonstration(self.stranger(item))

    def stranger(self, item: Item) -> Item:
        """`item`, or under `shuffled` in training the one that it is taken for."""
        return self._stranger.get(item.id, item)

    def preference(self, item: Item) -> tuple[str, str]:
        """The task's own pair, under `shuffled` in training in a random order; only where the task has pairs."""
        chosen, rejected = self.task.preference(item)  # type: ignore[attr-defined]
        if item.split == "train" and self.control == "shuffled" and self._coin(item, ""):
            return rejected, chosen
        return chosen, rejected

    def grade(self, item: Item, completion: str) -> Grade:
        """The task's own grade; in training with the verdict and the reward of the control."""
        grade = self.task.grade(item, completion)
        if item.split != "train":
            return grade
        right = self.control == "constant" or self._coin(item, completion)
        return Grade(right, float(right), grade.well_formed, self.control, grade.parsed, grade.measures)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def _estrange(self, split: str, found: Sequence[Item]) -> None:
        if self.control == "shuffled" and split == "train" and len(found) > 1:
            order = random.Random(self.seed).sample(range(len(found)), len(found))
            self._stranger = {
                found[one].id: found[other] for one, other in zip(order, order[1:] + order[:1], strict=True)
            }

    def _coin(self, item: Item, text: str) -> bool:
        told = f"{self.seed}\0{item.id}\0{text}".encode(errors="surrogatepass")
        return bool(hashlib.sha256(told).digest()[0] & 1)


def as_control(given: str) -> Control:
    """`given` as the name of a control; UserError if there is none of that name."""
    for control in get_args(Control):
        if control == given:
            return control  # type: ignore[no-any-return]
    raise unknown("negative control", given, get_args(Control))
