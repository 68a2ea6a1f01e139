"""The Sudoku task: levels S0 (4x4, four blanks) to S6 (9x9, 51 to 60), one solution each, graded by the rules.

An answer is right if it keeps every clue and each row, column and box holds every digit once: a changed clue is a hard
gate, and a second solution, were there one, would be as right as the first. Items are split by the orbit of their
solution, so that no test solution is a training solution with other names, turned or mirrored.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

from harness.contracts import Grade, Item, Offer, Prompt
from harness.errors import unknown
from harness.registry import task
from tasks.pool import SIZES, Pool, split_of
from tasks.sudoku.grid import Cells, keeps_rules, orbit
from tasks.sudoku.levels import LEVELS, Level
from tasks.sudoku.puzzle import dig, random_grid
from tasks.sudoku.small import grids_of, is_only_solution
from tasks.sudoku.style import Style, ask, read, write

SPLITS = ("train", "val", "test")
_SHARES = {"test": 0.25, "val": 0.15, "train": 0.60}
Reward = Literal["correct", "partial"]


@task("sudoku", version=1, levels=tuple(LEVELS), lab=("lab", "S2"))
class Sudoku:
    """Fill the blanks of a Sudoku with one solution."""

    name: str
    version: int
    offers: frozenset[Offer] = frozenset({"demonstrations", "verifier"})
    stop: str | None = None

    def __init__(
        self,
        level: Annotated[str, "difficulty S0 to S6"] = "S2",
        style: Annotated[Style, "form of the prompt"] = "compact",
        reward: Annotated[Reward, "what training sees; partial is the share of blanks right, less chance"] = "correct",
    ) -> None:
        if level not in LEVELS:
            raise unknown("level of sudoku", level, LEVELS)
        self.level, self.style, self.reward = LEVELS[level], style, reward
        self.max_new_tokens = 3 * self.level.shape.side**2 + 16
        sizes = {split: SIZES[split] for split in SPLITS}
        self._pools = {
            split: Pool(self.name, self.version, level, partial(_draw, self.level, split), _split_of_item, sizes)
            for split in SPLITS
        }

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first `n` puzzles of a split; UserError for an unknown split or more than there are."""
        if split not in self._pools:
            raise unknown("split of sudoku", split, SPLITS)
        return self._pools[split].items(split, n)

    def prompt(self, item: Item) -> Prompt:
        """The puzzle in this task's style."""
        return ask(self.style, tuple(item.data["clues"]), self.level.shape)

    def grade(self, item: Item, completion: str) -> Grade:
        """By the rules; `reason` is ok, altered_clue, rule_broken, or why there is no readable grid."""
        answer = read(self.style, completion, self.level.shape.side)
        if answer.cells is None:
            return Grade(False, 0.0, False, answer.reason, answer.text and answer.text[:200])
        if any(clue not in (0, digit) for clue, digit in zip(item.data["clues"], answer.cells, strict=True)):
            return Grade(False, 0.0, True, "altered_clue", answer.text)
        if keeps_rules(answer.cells, self.level.shape):
            return Grade(True, 1.0, True, "ok", answer.text)
        reward = self._partial(item, answer.cells) if self.reward == "partial" else 0.0
        return Grade(False, reward, True, "rule_broken", answer.text)

    def demonstration(self, item: Item) -> str:
        """The full grid."""
        return write(self.style, tuple(item.data["solution"]), self.level.shape.side)

    def _partial(self, item: Item, cells: Cells) -> float:
        """Share of blanks filled as in the solution, less what one digit everywhere would get; 0 at least."""
        blanks = [place for place, clue in enumerate(item.data["clues"]) if not clue]
        share = sum(cells[place] == item.data["solution"][place] for place in blanks) / len(blanks)
        chance = 1 / self.level.shape.side
        return max(0.0, (share - chance) / (1 - chance))


def _draw(level: Level, split: str, rng: random.Random) -> tuple[str, dict[str, Any]] | None:
    """A puzzle of `level` whose solution is of `split`; its key is its clues."""
    blanks = rng.randint(level.low, level.high)
    if level.shape.side == 4:
        solution = rng.choice(grids_of(split))
        hidden = set(rng.sample(range(16), blanks))
        if not is_only_solution(solution, hidden):
            return None
        clues = tuple(0 if place in hidden else digit for place, digit in enumerate(solution))
    else:
        solution = random_grid(level.shape, rng)
        if split_of("sudoku", "".join(map(str, orbit(solution, level.shape))), _SHARES) != split:
            return None
        clues = dig(solution, blanks, level.shape, rng)
        if clues.count(0) < level.low:
            return None
    return "".join(map(str, clues)), {"clues": list(clues), "solution": list(solution), "split": split}


def _split_of_item(key: str, data: dict[str, Any]) -> str:
    """Already decided by the solution."""
    return str(data["split"])
