"""How a chain is told: people, things and a few sentences for each kind of step, now and then one beside the point.

The question always names the person whose things the steps are about, so a sentence about another person's things is
beside the point beyond doubt. `worked` is the answer: each step as an equation, then GSM8K's `#### N`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from tasks.words.chain import Chain

NAMES = (
    *("Tom", "Anna", "Ben", "Mia", "Sam", "Lily", "Omar", "Nina", "Jack", "Rosa"),
    *("Leo", "Ida", "Max", "Eva", "Paul", "Zoe", "Hugo", "Vera", "Karl", "June"),
)
THINGS = (
    *("apples", "books", "coins", "cards", "shells", "pens", "stamps", "marbles"),
    *("cookies", "eggs", "stones", "toys", "keys", "flowers", "balls", "cups"),
)
OPENINGS = ("{name} has {n} {things}.", "{name} starts with {n} {things}.", "There are {n} {things} in {name}'s bag.")
STEPS = {
    "+": (
        "{name} buys {n} more.",
        "{name} finds {n} more {things}.",
        "A friend gives {name} {n} {things}.",
        "Then {n} more are added.",
    ),
    "-": (
        "{name} loses {n} of them.",
        "{name} gives away {n} {things}.",
        "Then {n} of them break.",
        "{name} sells {n}.",
    ),
    "*": (
        "Then the number grows {n} times as large.",
        "{name} makes it {n} times as many.",
        "Now there are {n} equal groups of that size.",
        "A machine turns each one into {n}.",
    ),
    "/": (
        "{name} shares them equally with friends, {n} people in all, and keeps one share.",
        "{name} splits them into {n} equal boxes and keeps one box.",
        "Only one of {n} equal parts is kept.",
        "{name} divides them by {n} and keeps one part.",
    ),
}
ASIDES = (
    "{other} has {n} {things} too.",
    "It is {n} degrees outside.",
    "{other} is {n} years old.",
    "The bus takes {n} minutes.",
)
QUESTIONS = (
    "How many {things} does {name} have?",
    "How many {things} does {name} have now?",
    "What is the number of {things} that {name} has?",
)
_ASIDE_HIGH = 40


def tell(rng: random.Random, chain: Chain, asides: Sequence[float]) -> str:
    """The problem in words; `asides` are the chances of a first, a second, ... sentence beside the point."""
    name, other = rng.sample(NAMES, 2)
    words = {"name": name, "other": other, "things": rng.choice(THINGS)}
    sentences = [rng.choice(OPENINGS).format(n=chain.start, **words)]
    sentences += [rng.choice(STEPS[operator]).format(n=operand, **words) for operator, operand in chain.steps]
    for chance, aside in zip(asides, rng.sample(ASIDES, len(asides)), strict=True):
        if rng.random() < chance:
            told = aside.format(n=rng.randint(2, _ASIDE_HIGH), **words)
            sentences.insert(rng.randint(1, len(sentences)), told)
    sentences.append(rng.choice(QUESTIONS).format(**words))
    return " ".join(sentences)


def ask(problem: str) -> str:
    """The plain prompt, in pre-training and in the task."""
    return f"question: {problem}\nanswer:"


def worked(equations: Sequence[str], answer: int) -> str:
    """The worked steps and the answer: ` 7+5=12; 12-3=9` and a line `#### 9`."""
    return f" {'; '.join(equations)}\n#### {answer}"


def equations_of(chain: Chain) -> list[str]:
    """`7+5=12` for each step."""
    values = chain.values
    return [
        f"{before}{operator}{operand}={after}"
        for before, (operator, operand), after in zip(values, chain.steps, values[1:], strict=False)
    ]
