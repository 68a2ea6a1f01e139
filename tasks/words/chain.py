"""Chains: a number and steps of adding, taking away, multiplying and sharing, each done to the result of the last.

Every value of a chain is a whole number from 1 to the level's limit. `Chain.key` is the canonical key of a problem:
its values and the kinds of its steps, not its wording; it decides the split.
"""

from __future__ import annotations

import random
from typing import NamedTuple

_TIMES, _PARTS = 9, 10  # the largest factor and the largest divisor


class Step(NamedTuple):
    """One operator and its operand."""

    operator: str
    operand: int


class Chain(NamedTuple):
    """A start and the steps done to it in turn."""

    start: int
    steps: tuple[Step, ...]

    @property
    def key(self) -> str:
        """`7+5-3`: read from left to right, without precedence."""
        return str(self.start) + "".join(f"{operator}{operand}" for operator, operand in self.steps)

    @property
    def values(self) -> list[int]:
        """The start and the result of each step."""
        found = [self.start]
        for operator, operand in self.steps:
            found.append(apply(found[-1], operator, operand))
        return found

    @property
    def program(self) -> list[list[int | str]]:
        """The chain as `tasks.words.program` runs it."""
        lefts = [self.start, *(f"r{index}" for index in range(len(self.steps) - 1))]
        return [[operator, left, operand] for left, (operator, operand) in zip(lefts, self.steps, strict=True)]


class Range(NamedTuple):
    """What a chain may hold: how many steps, the largest start, operand of + and -, and value of all."""

    steps: tuple[int, int]
    start: int
    operand: int
    limit: int


def apply(left: int, operator: str, right: int) -> int:
    """One exact step; a chain's divisions leave no remainder."""
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    return left * right if operator == "*" else left // right


def draw(rng: random.Random, within: Range) -> Chain:
    """A chain: uniform in the number of steps, then in the start, in the possible kinds of step and in the operand."""
    value = start = rng.randint(1, within.start)
    steps = []
    for _ in range(rng.randint(*within.steps)):
        step = _step(rng, value, within)
        steps.append(step)
        value = apply(value, *step)
    return Chain(start, tuple(steps))


def _step(rng: random.Random, value: int, within: Range) -> Step:
    parts = [part for part in range(2, _PARTS + 1) if value % part == 0]
    highest = {
        "+": min(within.operand, within.limit - value),
        "-": min(within.operand, value - 1),
        "*": min(_TIMES, within.limit // value) - 1,
        "/": len(parts),
    }
    operator = rng.choice([kind for kind, most in highest.items() if most > 0])
    if operator == "/":
        return Step(operator, rng.choice(parts))
    return Step(operator, rng.randint(1, highest[operator]) + (operator == "*"))
