"""How a Sudoku is asked and where its answer stands: the styles `compact` and `chat`.

A grid is written row by row with blanks between cells, `_` for an empty one. compact: the word `sudoku`, the grid and
`>`, answered by the whole grid and nothing else. chat: the rules and the grid, answered inside exactly one <answer>
block. An answer holds ASCII digits and white space alone; each digit is a cell.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from harness.contracts import Prompt
from tasks.sudoku.grid import Cells, Shape

Style = Literal["compact", "chat"]
_ANSWER = re.compile(r"[0-9 \t\r\n]+")


class Answer(NamedTuple):
    """The answer's text and cells, or why there are none."""

    text: str | None
    cells: Cells | None
    reason: str


def layout(cells: Cells, side: int) -> str:
    """Rows of cells."""
    shown = [str(digit) if digit else "_" for digit in cells]
    return "\n".join(" ".join(shown[side * row : side * (row + 1)]) for row in range(side))


def ask(style: Style, clues: Cells, shape: Shape) -> Prompt:
    """The prompt of a puzzle."""
    grid = layout(clues, shape.side)
    if style == "compact":
        return f"sudoku\n{grid}\n>\n"
    side = shape.side
    request = (
        f"Complete this {side}x{side} Sudoku. Each row, each column and each box of {shape.rows} rows and "
        f"{shape.columns} columns must hold every digit from 1 to {side} once. An underscore is an empty cell; the "
        f"digits that are given must stay.\n\n{grid}\n\nPut the whole grid, in the same layout, inside "
        "<answer> </answer> tags."
    )
    return [{"role": "user", "content": request}]


def write(style: Style, solution: Cells, side: int) -> str:
    """A full grid in the form that `style` asks for."""
    grid = layout(solution, side)
    return grid if style == "compact" else f"<answer>\n{grid}\n</answer>"


def read(style: Style, completion: str, side: int) -> Answer:
    """The cells of a completion, by the style's one rule."""
    if not completion.strip():
        return Answer(None, None, "empty")
    text = completion
    if style == "chat":
        if completion.count("<answer>") != 1 or completion.count("</answer>") != 1:
            return Answer(None, None, "several_answers" if "<answer>" in completion else "no_answer")
        text = completion.partition("<answer>")[2].partition("</answer>")[0]
    text = text.strip(" \t\r\n")
    if len(text) > 8 * side * side:
        return Answer(None, None, "wrong_shape")
    if not _ANSWER.fullmatch(text):
        return Answer(text, None, "bad_character" if text else "empty")
    digits = "".join(text.split())
    if len(digits) != side * side:
        return Answer(text, None, "wrong_shape")
    cells = tuple(map(int, digits))
    if not all(1 <= digit <= side for digit in cells):
        return Answer(text, None, "bad_digit")
    return Answer(text, cells, "ok")
