"""Puzzles of ARC from a folder in the original layout: training/*.json and evaluation/*.json, a task a file.

A file is {"train": [{"input", "output"}, ...], "test": [...]}, grids being lists of rows (Chollet 2019, arXiv
1911.01547). `disguised` is a puzzle under another symmetry of the square and other names for its colours.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import UserError
from tasks.arc.grid import COLOURS, Grid, as_grid, problem_of
from tasks.arc.style import Pair
from tasks.records import read_json


class Puzzle(NamedTuple):
    """One task of ARC: its name, the pairs that show the rule, and those to be solved."""

    name: str
    pairs: list[Pair]
    tests: list[Pair]

    @property
    def side(self) -> int:
        """The longest side of any of its grids."""
        return max(max(len(grid), len(grid[0])) for pair in [*self.pairs, *self.tests] for grid in pair)


def read_puzzles(folder: Path) -> dict[str, list[Puzzle]]:
    """The puzzles of `training` and `evaluation`, by name; UserError with file and place for what is wrong."""
    found: dict[str, list[Puzzle]] = {}
    seen: dict[tuple[object, ...], Path] = {}
    for part in ("training", "evaluation"):
        files = sorted((folder / part).glob("*.json"))
        if not files:
            raise UserError(f"{folder} has no {part}/*.json: give the folder that holds training/ and evaluation/.")
        found[part] = []
        for file in files:
            puzzle = _read(file)
            content = (tuple(puzzle.pairs), tuple(puzzle.tests))
            if content in seen:
                raise UserError(f"{file} is the same puzzle as {seen[content]}.")
            seen[content] = file
            found[part].append(puzzle)
    return found


def disguised(puzzle: Puzzle, rng: random.Random) -> Puzzle:
    """The puzzle turned or mirrored, its colours but for 0 renamed."""
    turns, mirrored = rng.randrange(4), rng.random() < 0.5
    names = [0, *rng.sample(range(1, COLOURS), COLOURS - 1)]

    def change(grid: Grid) -> Grid:
        for _ in range(turns):
            grid = tuple(zip(*grid[::-1], strict=True))
        return tuple(tuple(names[cell] for cell in (row[::-1] if mirrored else row)) for row in grid)

    pairs, tests = ([Pair(change(p.given), change(p.made)) for p in some] for some in (puzzle.pairs, puzzle.tests))
    return Puzzle(puzzle.name, pairs, tests)


def _read(file: Path) -> Puzzle:
    content = read_json(file)
    if not isinstance(content, dict):
        raise UserError(f"{file}: a {type(content).__name__} where an object with train and test is needed.")
    return Puzzle(file.stem, _pairs(file, content, "train"), _pairs(file, content, "test"))


def _pairs(file: Path, content: dict[str, Any], part: str) -> list[Pair]:
    pairs = content.get(part)
    if not isinstance(pairs, list) or not pairs:
        raise UserError(f'{file}: no list of pairs under "{part}".')
    found = []
    for number, pair in enumerate(pairs):
        grids = []
        for side in ("input", "output"):
            where = f"{file}, {part}[{number}]"
            if not isinstance(pair, dict) or side not in pair:
                raise UserError(f'{where}: no "{side}".')
            problem = problem_of(pair[side])
            if problem is not None:
                raise UserError(f'{where}, "{side}": {problem}.')
            grids.append(as_grid(pair[side]))
        found.append(Pair(*grids))
    return found
