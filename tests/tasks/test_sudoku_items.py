"""Sudoku's puzzles: the 288 small grids, orbits and splits, uniqueness by another solver, levels."""

from __future__ import annotations

import random
from collections import Counter
from itertools import product

import pytest

from harness import load_task
from tasks.sudoku import corpus, small
from tasks.sudoku.grid import Cells, Shape, groups, keeps_rules, orbit
from tasks.sudoku.levels import LEVELS
from tasks.sudoku.puzzle import dig, random_grid, solve

NINE = Shape(3, 3)
SEVENTEEN = "000000010400000000020000000000050407008000300001090000300400200050100000000806000"
SEVENTEEN_SOLVED = "693784512487512936125963874932651487568247391741398625319475268856129743274836159"


def solutions(clues: Cells, shape: Shape, most: int = 2) -> list[Cells]:
    """Another solver: plain depth-first search over the first blank, rules checked from scratch."""
    if 0 not in clues:
        return [clues]
    place = clues.index(0)
    taken = {clues[cell] for group in groups(shape) if place in group for cell in group}
    found: list[Cells] = []
    for digit in range(1, shape.side + 1):
        if digit not in taken and len(found) < most:
            found += solutions((*clues[:place], digit, *clues[place + 1 :]), shape, most - len(found))
    return found


def cells_of(text: str) -> Cells:
    return tuple(map(int, text))


def test_there_are_288_small_grids_in_five_orbits() -> None:
    rows = [row for row in product(range(1, 5), repeat=4) if len(set(row)) == 4]
    counted = sum(
        keeps_rules((*a, *b, *c, *d), small.SHAPE)
        for a, b in product(rows, rows) if not ({a[0], a[1]} & {b[0], b[1]})
        for c, d in product(rows, rows) if all(len({a[i], b[i], c[i], d[i]}) == 4 for i in range(4))
    )  # fmt: skip
    assert counted == len(small.grids()) == 288
    assert sorted(Counter(orbit(grid, small.SHAPE) for grid in small.grids()).values()) == [24, 24, 48, 96, 96]
    assert Counter(small.splits().values()) == {"test": 96, "val": 48, "train": 144}


@pytest.mark.parametrize("shape", [Shape(2, 2), Shape(2, 3), NINE])
def test_an_orbit_is_the_same_for_a_grid_in_disguise_and_another_for_others(shape: Shape) -> None:
    rng = random.Random(3)
    grid = random_grid(shape, rng)
    side = shape.side
    assert keeps_rules(grid, shape)
    names = [0, *rng.sample(range(1, side + 1), side)]
    upside = tuple(names[grid[side * (side - 1 - r) + c]] for r in range(side) for c in range(side))
    assert keeps_rules(upside, shape) and orbit(upside, shape) == orbit(grid, shape)
    if shape.rows == shape.columns:
        transposed = tuple(grid[side * c + r] for r in range(side) for c in range(side))
        assert orbit(transposed, shape) == orbit(grid, shape)
    assert len({orbit(random_grid(shape, rng), shape) for _ in range(20)}) > 1


@pytest.mark.parametrize("level", ["S0", "S1", "S2", "S3", "S4"])
def test_every_puzzle_has_one_solution_and_its_levels_blanks(level: str) -> None:
    task, plan = load_task("sudoku", level=level), LEVELS[level]
    for split in ("train", "val", "test"):
        for item in task.items(split, 30):
            clues, solution = tuple(item.data["clues"]), tuple(item.data["solution"])
            assert plan.low <= clues.count(0) <= plan.high
            assert solutions(clues, plan.shape) == [solution]


@pytest.mark.parametrize("level", ["S5", "S6"])
def test_hard_puzzles_have_one_solution(level: str) -> None:
    """By this project's own search for another digit in each blank; the plain solver takes too long on these."""
    task, plan = load_task("sudoku", level=level), LEVELS[level]
    for item in task.items("test", 4):
        clues, solution = tuple(item.data["clues"]), tuple(item.data["solution"])
        assert plan.low <= clues.count(0) <= plan.high and solve(clues, NINE) == solution
        for place in [place for place, clue in enumerate(clues) if not clue][::8]:
            for digit in set(range(1, 10)) - {solution[place]}:
                assert solve((*clues[:place], digit, *clues[place + 1 :]), NINE) is None


def test_a_puzzle_of_seventeen_clues_is_solved() -> None:
    assert solve(cells_of(SEVENTEEN), NINE) == cells_of(SEVENTEEN_SOLVED)
    contradicting = cells_of("11" + SEVENTEEN[2:])
    assert solve(contradicting, NINE) is None


def test_digging_stops_where_uniqueness_would_go() -> None:
    rng = random.Random(0)
    solution = random_grid(Shape(2, 2), rng)
    clues = dig(solution, 16, Shape(2, 2), rng)
    assert solutions(clues, Shape(2, 2)) == [solution]
    for place in [place for place, clue in enumerate(clues) if clue]:
        assert len(solutions((*clues[:place], 0, *clues[place + 1 :]), Shape(2, 2))) == 2


@pytest.mark.parametrize("level", ["S0", "S2", "S3", "S4"])
def test_splits_share_no_solution_in_any_disguise(level: str) -> None:
    task, shape = load_task("sudoku", level=level), LEVELS[level].shape
    seen: dict[Cells, str] = {}
    for split in ("train", "val", "test"):
        for item in task.items(split, 60):
            assert seen.setdefault(orbit(tuple(item.data["solution"]), shape), split) == split
    assert set(seen.values()) == {"train", "val", "test"}


def test_the_pre_training_text_holds_no_val_or_test_solution() -> None:
    rng = random.Random(0)
    learnt = {cells_of("".join(corpus.sample(rng).answer.split())) for _ in range(3000)}
    assert {small.splits()[grid] for grid in learnt} == {"train"}
    probed = corpus.probes(100)
    assert {small.splits()[cells_of("".join(probe.answer.split()))] for probe in probed} == {"val"}
    assert all(corpus.correct(probe, probe.answer) and not corpus.correct(probe, "1 2 3 4") for probe in probed)
