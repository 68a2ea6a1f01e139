"""Plans: ways to combine all given numbers step by step, in non-negative integers.

`random_plan` draws one, `all_plans` enumerates them (up to 4 numbers in milliseconds), `reachable` maps every
reachable target to one plan, `solvable` is the independent oracle over exact rationals that allows fractions and
negative values in between.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple


class Step(NamedTuple):
    """`left operator right = value`, all of them non-negative integers."""

    left: int
    operator: str
    right: int
    value: int

    def __str__(self) -> str:
        return f"{self.left}{self.operator}{self.right}={self.value}"


class Plan(NamedTuple):
    """The steps of one combination of all numbers, its value and the same as one expression."""

    steps: tuple[Step, ...]
    value: int
    expression: str


class _Term(NamedTuple):
    value: int
    text: str
    operator: str  # the outermost operator of `text`, "" for a number


def _combine(left: _Term, operator: str, right: _Term) -> _Term | None:
    a, b = left.value, right.value
    if operator == "+":
        value = a + b
    elif operator == "*":
        value = a * b
    elif operator == "-":
        if a < b:
            return None
        value = a - b
    else:
        if b == 0 or a % b:
            return None
        value = a // b
    return _Term(value, f"{_bracket(left, operator, False)}{operator}{_bracket(right, operator, True)}", operator)


def _bracket(term: _Term, operator: str, is_right: bool) -> str:
    loose = term.operator in ("+", "-")
    if term.operator and ((operator in "*/" and loose) or (is_right and operator in "-/")):
        return f"({term.text})"
    return term.text


def random_plan(numbers: tuple[int, ...], rng: random.Random, operators: str = "+-*/") -> Plan:
    """One plan: a random pair and a random legal operator at each step."""
    terms = [_Term(number, str(number), "") for number in numbers]
    steps = []
    while len(terms) > 1:
        left = terms.pop(rng.randrange(len(terms)))
        right = terms.pop(rng.randrange(len(terms)))
        combined = None
        while combined is None:
            operator = operators[int(rng.random() * len(operators))]
            combined = _combine(left, operator, right)
            if combined is None:
                left, right = right, left
        steps.append(Step(left.value, operator, right.value, combined.value))
        terms.append(combined)
    return Plan(tuple(steps), terms[0].value, terms[0].text)


def all_plans(numbers: tuple[int, ...], operators: str = "+-*/") -> Iterator[Plan]:
    """Every plan over all `numbers`; 3 numbers give about 100, 4 about 3,000, 5 about 150,000."""
    yield from _extend([_Term(number, str(number), "") for number in sorted(numbers)], (), operators)


def _extend(terms: list[_Term], steps: tuple[Step, ...], operators: str) -> Iterator[Plan]:
    if len(terms) == 1:
        yield Plan(steps, terms[0].value, terms[0].text)
        return
    for i, j in combinations(range(len(terms)), 2):
        rest = [term for k, term in enumerate(terms) if k not in (i, j)]
        for left, right in ((terms[i], terms[j]), (terms[j], terms[i])):
            for operator in operators:
                if operator in "+*" and left is terms[j]:
                    continue
                combined = _combine(left, operator, right)
                if combined is not None:
                    step = Step(left.value, operator, right.value, combined.value)
                    yield from _extend([*rest, combined], (*steps, step), operators)


@lru_cache(maxsize=20_000)
def reachable(numbers: tuple[int, ...], low: int, high: int, operators: str = "+-*/") -> dict[int, Plan]:
    """Every target in [low, high] that `numbers` reach, with the first plan that reaches it."""
    found: dict[int, Plan] = {}
    for plan in all_plans(numbers, operators):
        if low <= plan.value <= high:
            found.setdefault(plan.value, plan)
    return found


def solvable(numbers: tuple[int, ...], target: Fraction | int) -> bool:
    """Whether any expression over exact rationals using every number once equals `target` (by enumeration)."""
    return Fraction(target) in _values(tuple(sorted(Fraction(number) for number in numbers)))


@lru_cache(maxsize=100_000)
def _values(numbers: tuple[Fraction, ...]) -> frozenset[Fraction]:
    if len(numbers) == 1:
        return frozenset(numbers)
    values: set[Fraction] = set()
    indices = range(len(numbers))
    for size in range(1, len(numbers)):
        for chosen in combinations(indices, size):
            left = _values(tuple(numbers[i] for i in chosen))
            right = _values(tuple(numbers[i] for i in indices if i not in chosen))
            for a in left:
                for b in right:
                    values.update((a + b, a - b, a * b))
                    if b:
                        values.add(a / b)
    return frozenset(values)
