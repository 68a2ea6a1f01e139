"""How a puzzle is asked and where its answer stands: the styles `chat`, `compact` and `program`.

A grid is a line a row with blanks between cells. chat: words, answered inside exactly one <answer> block with a blank
line between grids. compact: the word `arc`, each pair as grid, `>` and grid, then the grids in question and `>`,
answered by grids alone. program: the pairs in words, answered by a Python function `transform` in the last ```python
block (the program-output variant of Qiu et al. 2025, arXiv 2509.24372).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from harness.contracts import Prompt
from tasks.arc.grid import Grid, read_grids, show

Style = Literal["chat", "compact", "program"]
LONGEST_PROGRAM = 20_000
_FENCE = "```"


class Pair(NamedTuple):
    """A grid and what the rule makes of it."""

    given: Grid
    made: Grid


class Answer(NamedTuple):
    """The answer's text and grids, or why there are none."""

    text: str | None
    grids: tuple[Grid, ...] | None
    reason: str


def ask(style: Style, pairs: list[Pair], questions: list[Grid]) -> Prompt:
    """The prompt of a puzzle."""
    asked = "\n\n".join(map(show, questions))
    if style == "compact":
        shown = "".join(f"{show(pair.given)}\n>\n{show(pair.made)}\n\n" for pair in pairs)
        return f"arc\n{shown}{asked}\n>\n"
    examples = "\n\n".join(
        f"Example {number}\nInput:\n{show(pair.given)}\nOutput:\n{show(pair.made)}"
        for number, pair in enumerate(pairs, start=1)
    )
    rule = "One rule turns each input grid into its output grid. Cells are colours from 0 to 9."
    if style == "program":
        request = (
            f"{rule}\n\n{examples}\n\nInputs without outputs:\n{asked}\n\nWrite a Python function "
            "`transform(grid: list[list[int]]) -> list[list[int]]` that applies the rule to any input, in one "
            f"{_FENCE}python block. The standard library's pure modules and numpy may be imported; files and network "
            "are out of reach."
        )
    else:
        many = "the output grids in the same order, with a blank line between them," if len(questions) > 1 else "its"
        noun = "" if len(questions) > 1 else " output grid"
        request = (
            f"{rule}\n\n{examples}\n\n{'Inputs' if len(questions) > 1 else 'Input'}:\n{asked}\n\nGive {many}{noun} "
            "in the same layout, inside <answer> </answer> tags."
        )
    return [{"role": "user", "content": request}]


def write(style: Style, grids: list[Grid]) -> str:
    """Output grids in the form that `style` asks for; ValueError for programs."""
    if style == "program":
        raise ValueError("which program makes these grids is not known")
    text = "\n\n".join(map(show, grids))
    return text if style == "compact" else f"<answer>\n{text}\n</answer>"


def read(style: Style, completion: str, count: int) -> Answer:
    """The `count` grids of a completion, by the style's one rule."""
    if not completion.strip():
        return Answer(None, None, "empty")
    text = completion
    if style == "chat":
        if completion.count("<answer>") != 1 or completion.count("</answer>") != 1:
            return Answer(None, None, "several_answers" if "<answer>" in completion else "no_answer")
        text = completion.partition("<answer>")[2].partition("</answer>")[0]
    text = text.strip(" \t\r\n")
    if not text:
        return Answer(None, None, "empty")
    grids, reason = read_grids(text, count)
    return Answer(text, grids, reason)


def find_program(completion: str) -> tuple[str | None, str]:
    """The code of the last ```python block, or None and why there is none."""
    if not completion.strip():
        return None, "empty"
    start = completion.rfind(f"{_FENCE}python\n")
    if start < 0:
        return None, "no_program"
    code, fence, _ = completion[start + len(f"{_FENCE}python\n") :].partition(f"\n{_FENCE}")
    if not fence:
        return None, "unfinished_program"
    if len(code) > LONGEST_PROGRAM:
        return None, "too_long"
    return code, "ok"
