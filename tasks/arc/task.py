"""The ARC-AGI-1 task: from pairs of grids find the rule, apply it to the grids in question.

A puzzle is right if all of its grids in question are exact, at the first attempt (the ARC Prize allows two). The
evaluation puzzles are test items; the training puzzles are split into train and val by the hash of their name, before
any augmentation, so that no disguise of a val puzzle is ever trained on. Level `small` keeps puzzles whose grids are
all at most 10 by 10. The data are the user's: the folder `data` of the original repository (Chollet 2019).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from harness.contracts import Grade, Item, Offer, Prompt
from harness.errors import UserError, unknown
from harness.parameters import DataPath
from harness.registry import task
from tasks.arc.grading import Reward, grade_grids, grade_program
from tasks.arc.grid import as_grid
from tasks.arc.program import require_lockable
from tasks.arc.puzzle import Puzzle, disguised, read_puzzles
from tasks.arc.style import Pair, Style, ask, write
from tasks.pool import Fixed, content_id, split_of

LEVELS = {"small": 10, "full": 30}
_SHARES = {"val": 0.2, "train": 0.8}


@task("arc", version=1, source="Chollet 2019, arXiv 1911.01547", levels=tuple(LEVELS))
class Arc:
    """Grid puzzles of ARC-AGI-1, answered by grids or by a program that makes them."""

    name: str
    version: int

    def __init__(
        self,
        level: Annotated[str, "small: no side above 10; full: all puzzles"] = "full",
        style: Annotated[Style, "how it is asked: words, bare grids, or a program to be written"] = "chat",
        reward: Annotated[Reward, "what training sees; partial is the share of cells beyond no insight"] = "correct",
        augment: Annotated[int, Field(ge=0), "disguises of each training puzzle, beside itself"] = 0,
        seconds: Annotated[int, Field(ge=1, le=60), "processor time of a program"] = 2,
        data: Annotated[str | None, DataPath(), "folder with training/*.json and evaluation/*.json"] = None,
    ) -> None:
        if level not in LEVELS:
            raise unknown("level of arc", level, LEVELS)
        self.level, self.style, self.reward, self.augment = level, style, reward, augment
        self.seconds, self.data = seconds, data
        self.max_new_tokens = 2048
        self.stop: str | None = None
        self.offers: frozenset[Offer] = frozenset(
            {"verifier"} if style == "program" else {"demonstrations", "verifier"}
        )
        self._read: Fixed | None = None
        if style == "program":
            require_lockable()

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first `n` puzzles; UserError for an unknown split, missing data, or more than there are."""
        if split not in ("train", "val", "test"):
            raise unknown("split of arc", split, ("train", "val", "test"))
        if self._read is None:
            self._read = Fixed(self.name, self._load())
        return self._read.items(split, n)

    def prompt(self, item: Item) -> Prompt:
        """The pairs and the grids in question, in this task's style."""
        return ask(self.style, _pairs(item, "pairs"), [pair.given for pair in _pairs(item, "tests")])

    def grade(self, item: Item, completion: str) -> Grade:
        """Exact, over all grids in question; `tasks.arc.grading` has the reasons."""
        tests = _pairs(item, "tests")
        if self.style == "program":
            return grade_program(completion, _pairs(item, "pairs"), tests, self.reward, self.seconds)
        return grade_grids(self.style, completion, tests, self.reward)

    def demonstration(self, item: Item) -> str:
        """The grids; ValueError for the style program, which offers none."""
        return write(self.style, [pair.made for pair in _pairs(item, "tests")])

    def _load(self) -> dict[str, list[Item]]:
        if self.data is None:
            raise UserError("arc needs its data, the original repository's folder data: -t data=DIR.")
        puzzles = read_puzzles(Path(self.data))
        found: dict[str, list[Item]] = {"train": [], "val": [], "test": []}
        for part, there in puzzles.items():
            for puzzle in there:
                if puzzle.side > LEVELS[self.level]:
                    continue
                split = "test" if part == "evaluation" else split_of("arc", puzzle.name, _SHARES)
                copies = self.augment if split == "train" else 0
                rngs = [random.Random(f"{self.name}/{self.version}/{puzzle.name}/{copy}") for copy in range(copies)]
                versions = [puzzle, *(disguised(puzzle, rng) for rng in rngs)]
                found[split] += {item.id: item for item in (_item(one, split) for one in versions)}.values()
        return found


def _item(puzzle: Puzzle, split: str) -> Item:
    identity = content_id("arc", puzzle.name, puzzle.pairs, puzzle.tests)
    data = {part: [[pair.given, pair.made] for pair in getattr(puzzle, part)] for part in ("pairs", "tests")}
    return Item(identity, split, {"name": puzzle.name, **data})


def _pairs(item: Item, part: str) -> list[Pair]:
    return [Pair(as_grid(given), as_grid(made)) for given, made in item.data[part]]
