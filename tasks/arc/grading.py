"""The grade of an ARC answer: right if every grid in question is exact, whatever was written besides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from harness.contracts import Grade
from tasks.arc.grid import Grid, partial_score, show
from tasks.arc.program import run_program
from tasks.arc.style import Pair, Style, find_program, read

Reward = Literal["correct", "partial"]


def grade_grids(style: Style, completion: str, tests: Sequence[Pair], reward: Reward) -> Grade:
    """Of an answer that is grids; `reason` is ok, wrong, wrong_shape, or why there are none to read."""
    answer = read(style, completion, len(tests))
    if answer.grids is None:
        return Grade(False, 0.0, False, answer.reason, answer.text and answer.text[:200])
    return _compared(answer.grids, tests, reward, answer.text, {})


def grade_program(completion: str, pairs: Sequence[Pair], tests: Sequence[Pair], reward: Reward, seconds: int) -> Grade:
    """Of a program; `reason` may also be what it died of. The measure `pairs` is the share of shown pairs it makes."""
    code, reason = find_program(completion)
    if code is None:
        return Grade(False, 0.0, False, reason, None, {"pairs": 0.0})
    outcomes = run_program(code, [pair.given for pair in (*pairs, *tests)], seconds)
    shown, asked = outcomes[: len(pairs)], outcomes[len(pairs) :]
    right = sum(one.grid == pair.made for one, pair in zip(shown, pairs, strict=True))
    measures = {"pairs": right / len(pairs)}
    failed = next((one.reason for one in asked if one.grid is None), None)
    if failed is not None:
        return Grade(False, 0.0, False, failed, None, measures)
    grids = [one.grid for one in asked if one.grid is not None]
    return _compared(grids, tests, reward, "\n\n".join(map(show, grids)), measures)


def _compared(
    grids: Sequence[Grid], tests: Sequence[Pair], reward: Reward, text: str | None, measures: dict[str, float]
) -> Grade:
    if all(grid == pair.made for grid, pair in zip(grids, tests, strict=True)):
        return Grade(True, 1.0, True, "ok", text, measures)
    shapes = [(len(grid), len(grid[0])) == (len(p.made), len(p.made[0])) for grid, p in zip(grids, tests, strict=True)]
    scores = [partial_score(grid, pair.made, pair.given) for grid, pair in zip(grids, tests, strict=True)]
    value = sum(scores) / len(scores) if reward == "partial" else 0.0
    return Grade(False, value, True, "wrong" if all(shapes) else "wrong_shape", text, measures)
