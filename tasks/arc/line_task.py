"""One-dimensional ARC, for small models: three rows and what a rule makes of them, then a row in question.

Levels: L0 one family of rules on 16 cells, L1 four on 12, L2 all sixteen on 12, L3 all on 16 to 28 cells,
`unseen` val and test by families that training does not have. Items of different splits have no pair of rows in common,
not even under other colours. No shipped lab model can do any of it untouched (0 of 500 val puzzles at L0: such rows are
not in what they were trained on), so there is no lab level; sft first, then reinforcement, is how to try it there.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, NamedTuple

from harness.contracts import Grade, Item, Offer, Prompt
from harness.errors import unknown
from harness.registry import task
from tasks.arc.grading import Reward, grade_grids, grade_program
from tasks.arc.lines import FAMILIES, Line
from tasks.arc.program import require_lockable
from tasks.arc.style import Pair, Style, ask, write
from tasks.pool import SIZES, Pool, split_of

SPLITS = ("train", "val", "test")
_SHARES = {"test": 0.25, "val": 0.15, "train": 0.60}
_PAIRS = 3
_TRIES = 30


class Level(NamedTuple):
    """Families of rules and lengths of rows."""

    families: tuple[str, ...]
    shortest: int
    longest: int
    held: tuple[str, ...] = ()
    """Families of val and test, where they are others than those of train."""


_ALL = tuple(FAMILIES)
_HELD = ("hollow", "mirror", "grow", "swap", "count")
LEVELS = {
    "L0": Level(_ALL[:1], 16, 16),
    "L1": Level(_ALL[:4], 12, 12),
    "L2": Level(_ALL, 12, 12),
    "L3": Level(_ALL, 16, 28),
    "unseen": Level(tuple(name for name in _ALL if name not in _HELD), 12, 12, _HELD),
}


@task("arc-1d", version=1, source="after Xu et al. 2024, arXiv 2305.18354", levels=tuple(LEVELS))
class ArcLines:
    """Find the rule from three rows and apply it to another."""

    name: str
    version: int

    def __init__(
        self,
        level: Annotated[str, "families of rules and length of rows"] = "L0",
        style: Annotated[Style, "how it is asked: bare rows, words, or a program to be written"] = "compact",
        reward: Annotated[Reward, "what training sees; partial is the share of cells beyond no insight"] = "correct",
        seconds: Annotated[int, "processor time of a program"] = 2,
    ) -> None:
        if level not in LEVELS:
            raise unknown("level of arc-1d", level, LEVELS)
        self.level, self.style, self.reward, self.seconds = level, style, reward, seconds
        self.max_new_tokens = 1024 if style == "program" else 2 * LEVELS[level].longest + 16
        self.stop: str | None = None
        self.offers: frozenset[Offer] = frozenset(
            {"verifier"} if style == "program" else {"demonstrations", "verifier"}
        )
        if style == "program":
            require_lockable()
        sizes = {split: SIZES[split] for split in SPLITS}
        self._pools = {
            split: Pool(self.name, self.version, level, partial(_draw, LEVELS[level], split), _split_of_item, sizes)
            for split in SPLITS
        }

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first `n` puzzles of a split; UserError for an unknown split or more than there are."""
        if split not in self._pools:
            raise unknown("split of arc-1d", split, SPLITS)
        return self._pools[split].items(split, n)

    def prompt(self, item: Item) -> Prompt:
        """The pairs and the row in question, in this task's style."""
        return ask(self.style, _shown(item), [_pair(item.data["test"]).given])

    def grade(self, item: Item, completion: str) -> Grade:
        """Exact; `tasks.arc.grading` has the reasons."""
        test = _pair(item.data["test"])
        if self.style == "program":
            return grade_program(completion, _shown(item), [test], self.reward, self.seconds)
        return grade_grids(self.style, completion, [test], self.reward)

    def demonstration(self, item: Item) -> str:
        """The row; ValueError for the style program, which offers none."""
        return write(self.style, [_pair(item.data["test"]).made])


def _draw(level: Level, split: str, rng: random.Random) -> tuple[str, dict[str, Any]] | None:
    """A puzzle whose rows are all of `split`; its key is its rows under names of colours in order of appearance."""
    families = level.held if level.held and split != "train" else level.families
    family = rng.choice(families)
    rule = FAMILIES[family](rng)
    length = rng.randint(level.shortest, level.longest)
    found: dict[str, tuple[Line, Line]] = {}
    for _ in range(_TRIES):
        drawn = rule(rng, length)
        key = drawn and _renamed([*drawn[0], -1, *drawn[1]])
        if drawn and key and split_of("arc-1d", key, _SHARES) == split:
            found.setdefault(key, drawn)
        if len(found) > _PAIRS:
            rows = list(found.values())
            asked = next((place for place in range(_PAIRS, -1, -1) if _is_new(rows, place)), None)
            if asked is None:
                return None
            test = rows.pop(asked)
            key = _renamed([cell for given, made in (*rows, test) for cell in (*given, -1, *made, -1)])
            return key, {"family": family, "pairs": rows, "test": test, "split": split}
    return None


def _is_new(rows: list[tuple[Line, Line]], asked: int) -> bool:
    """Whether what becomes of the row in question stands in no other row."""
    answer = _written(rows[asked][1])
    others = [line for place, pair in enumerate(rows) for line in (pair[:1] if place == asked else pair)]
    return not any(answer in _written(line) for line in others)


def _written(line: Line) -> str:
    return " ".join(map(str, line))


def _renamed(cells: list[int]) -> str:
    """Cells as text, colours but for the background numbered as they first stand."""
    names = {0: "0", -1: ">"}
    return " ".join(names.setdefault(cell, f"c{len(names)}") for cell in cells)


def _split_of_item(key: str, data: dict[str, Any]) -> str:
    """Already decided by the rows."""
    return str(data["split"])


def _shown(item: Item) -> list[Pair]:
    """The pairs that show the rule."""
    return [_pair(lines) for lines in item.data["pairs"]]


def _pair(lines: Sequence[Line]) -> Pair:
    """Two rows as grids."""
    given, made = lines
    return Pair((tuple(given),), (tuple(made),))
