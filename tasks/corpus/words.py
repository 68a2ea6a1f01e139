"""Arithmetic word problems as a pre-training family: one to three steps in words, answered with worked steps.

A small template grammar: people, things, steps of gaining, losing, multiplying and sharing, values up to 100, now and
then a sentence beside the point. The answer shows each step and ends in GSM8K's `#### N`. Problems to
learn from are of the `pretrain` split, probes of `val`, by the start and the steps of a problem.
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple

from tasks.corpus import Passage
from tasks.pool import split_of

NAMES = [
    "Tom",
    "Anna",
    "Ben",
    "Mia",
    "Sam",
    "Lily",
    "Omar",
    "Nina",
    "Jack",
    "Rosa",
    "Leo",
    "Ida",
    "Max",
    "Eva",
    "Paul",
    "Zoe",
    "Hugo",
    "Vera",
    "Karl",
    "June",
]
THINGS = [
    "apples",
    "books",
    "coins",
    "cards",
    "shells",
    "pens",
    "stamps",
    "marbles",
    "cookies",
    "eggs",
    "stones",
    "toys",
    "keys",
    "flowers",
    "balls",
    "cups",
]
OPENINGS = ("{name} has {n} {things}.", "{name} starts with {n} {things}.", "There are {n} {things} in {name}'s bag.")
GAINS = (
    "{name} buys {n} more.",
    "{name} finds {n} more {things}.",
    "A friend gives {name} {n} {things}.",
    "Then {n} more are added.",
)
LOSSES = (
    "{name} loses {n} of them.",
    "{name} gives away {n} {things}.",
    "Then {n} of them break.",
    "{name} sells {n}.",
)
TIMES = (
    "Then the number grows {n} times as large.",
    "{name} makes it {n} times as many.",
    "Now there are {n} equal groups of that size.",
    "A machine turns each one into {n}.",
)
SHARES = (
    "They are shared equally among {n} friends; look at one share.",
    "{name} splits them into {n} equal boxes and keeps one box.",
    "Only one of {n} equal parts is kept.",
    "{name} divides them by {n} and keeps one part.",
)
ASIDES = (
    "{other} has {n} {things} too.",
    "It is {n} degrees outside.",
    "{other} is {n} years old.",
    "The bus takes {n} minutes.",
)
QUESTIONS = (
    "How many {things} does {name} have?",
    "How many {things} are there now?",
    "What is the number of {things}?",
)
_KINDS = {"+": GAINS, "-": LOSSES, "*": TIMES, "/": SHARES}


class _Step(NamedTuple):
    operator: str
    operand: int


def _steps(rng: random.Random) -> tuple[int, list[_Step]]:
    value = start = rng.randint(1, 20)
    steps: list[_Step] = []
    for _ in range(rng.randint(1, 3)):
        choices = [_Step("+", rng.randint(1, 20))]
        if value > 1:
            choices.append(_Step("-", rng.randint(1, min(20, value - 1))))
        if value * 2 <= 100:
            choices.append(_Step("*", rng.randint(2, min(9, 100 // value))))
        divisors = [d for d in range(2, 11) if value % d == 0]
        if divisors:
            choices.append(_Step("/", rng.choice(divisors)))
        step = rng.choice(choices)
        steps.append(step)
        value = apply(value, step.operator, step.operand)
    return start, steps


def apply(value: int, operator: str, operand: int) -> int:
    """One exact step."""
    if operator == "+":
        return value + operand
    if operator == "-":
        return value - operand
    return value * operand if operator == "*" else value // operand


def _passage(rng: random.Random, probe: bool) -> Passage:
    while True:
        start, steps = _steps(rng)
        key = f"{start}" + "".join(f"{step.operator}{step.operand}" for step in steps)
        if split_of("words", key) == ("val" if probe else "pretrain"):
            break
    name, other = rng.sample(NAMES, 2)
    words = {"name": name, "other": other, "things": rng.choice(THINGS)}
    sentences = [rng.choice(OPENINGS).format(n=start, **words)]
    value, worked = start, []
    for operator, operand in steps:
        sentences.append(rng.choice(_KINDS[operator]).format(n=operand, **words))
        after = apply(value, operator, operand)
        worked.append(f"{value}{operator}{operand}={after}")
        value = after
    if rng.random() < 0.25:
        sentences.insert(rng.randint(1, len(sentences)), rng.choice(ASIDES).format(n=rng.randint(2, 40), **words))
    sentences.append(rng.choice(QUESTIONS).format(**words))
    return Passage(f"question: {' '.join(sentences)}\nanswer:", f" {'; '.join(worked)}\n#### {value}")


def sample(rng: random.Random) -> Passage:
    """A problem to learn from."""
    return _passage(rng, probe=False)


def probes(n: int) -> list[Passage]:
    """`n` problems whose values and steps no sample has."""
    rng = random.Random("words probes")
    return [_passage(rng, probe=True) for _ in range(n)]


def correct(probe: Passage, completion: str) -> bool:
    """Whether the number after the last `####` is the right one."""
    numbers = re.findall(r"#### *(-?[0-9]+)", completion)
    return bool(numbers) and numbers[-1] == probe.answer.rsplit("#### ", 1)[1]
