"""Sudoku 4x4 as a pre-training family: a puzzle with one solution and 4 to 8 blanks, answered by the whole grid.

Samples have the solutions of the task's train split, probes those of val; no orbit of solutions is in both.
"""

from __future__ import annotations

import random

from tasks.corpus import Passage
from tasks.sudoku.grid import keeps_rules
from tasks.sudoku.small import SHAPE, grids_of, is_only_solution
from tasks.sudoku.style import ask, layout, read

BLANKS = (4, 8)


def _passage(rng: random.Random, split: str) -> Passage:
    solution = rng.choice(grids_of(split))
    while True:
        blanks = set(rng.sample(range(16), rng.randint(*BLANKS)))
        if is_only_solution(solution, blanks):
            clues = tuple(0 if cell in blanks else solution[cell] for cell in range(16))
            return Passage(str(ask("compact", clues, SHAPE)), layout(solution, 4))


def sample(rng: random.Random) -> Passage:
    """A puzzle to learn from."""
    return _passage(rng, "train")


def probes(n: int) -> list[Passage]:
    """`n` puzzles whose solutions no sample has, in any disguise."""
    rng = random.Random("sudoku probes")
    return [_passage(rng, "val") for _ in range(n)]


def correct(probe: Passage, completion: str) -> bool:
    """Whether `completion` solves the puzzle of `probe`."""
    cells = read("compact", completion, 4).cells
    if cells is None:
        return False
    clues = probe.prompt.split("\n", 1)[1].split(">")[0].split()
    kept = all(clue in ("_", str(digit)) for clue, digit in zip(clues, cells, strict=True))
    return kept and keeps_rules(cells, SHAPE)
