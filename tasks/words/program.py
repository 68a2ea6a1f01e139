"""Programs: the exact arithmetic behind a word problem, step by step, as plain data that an item can hold.

A step is [operator, left, right]; an operand is a whole number or "r0", "r1", ... for the result of an earlier step.
The operators are + - * / and % ("a % p" is p per cent of a). Every result is a whole number from 1 up.
"""

from __future__ import annotations

from collections.abc import Sequence

Operand = int | str
Step = list[Operand]


def results(program: Sequence[Step]) -> list[int]:
    """The result of each step; ValueError if one is not a whole number from 1 up."""
    found: list[int] = []
    for operator, left, right in program:
        value = _apply(str(operator), _value(left, found), _value(right, found))
        if value is None or value < 1:
            raise ValueError(f"step {len(found)} of {program} is no whole number from 1 up")
        found.append(value)
    return found


def equations(program: Sequence[Step]) -> list[str]:
    """`7+5=12` for each step; p per cent of a is `a*p/100`."""
    found = results(program)
    shown = []
    for (operator, left, right), value in zip(program, found, strict=True):
        a, b = _value(left, found), _value(right, found)
        shown.append(f"{a}*{b}/100={value}" if operator == "%" else f"{a}{operator}{b}={value}")
    return shown


def needed(program: Sequence[Step], asked: Operand) -> list[Step]:
    """The steps that `asked` depends on, renumbered; its own is the last. None for what is given and not worked out."""
    wanted = {int(asked[1:])} if isinstance(asked, str) else set()
    for index in range(len(program) - 1, -1, -1):
        if index in wanted:
            wanted |= {int(operand[1:]) for operand in program[index][1:] if isinstance(operand, str)}
    places = {old: new for new, old in enumerate(sorted(wanted))}

    def renumbered(operand: Operand) -> Operand:
        return f"r{places[int(operand[1:])]}" if isinstance(operand, str) else operand

    return [[program[i][0], *map(renumbered, program[i][1:])] for i in sorted(wanted)]


def _value(operand: Operand, found: Sequence[int]) -> int:
    return found[int(operand[1:])] if isinstance(operand, str) else operand


def _apply(operator: str, a: int, b: int) -> int | None:
    if operator == "+":
        return a + b
    if operator == "-":
        return a - b
    if operator == "*":
        return a * b
    quotient, rest = divmod(a * b, 100) if operator == "%" else divmod(a, b)
    return quotient if rest == 0 else None
