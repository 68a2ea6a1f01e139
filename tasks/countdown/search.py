"""Searchers: text that tries plans one after another until one of them reaches the target.

A trace is `try;try;...#answer` or, of a systematic search, `?try?try...#answer`, each try its steps with their
results (`5*7=35,35-3=32`). A searcher has a skill (the best of how many random plans it tries next), a patience (the
chance to go on after a failed try) and an attention (the chance to notice a success). Systematic traces are
Countdown's demonstrations; a crowd of searchers of all kinds, most of whom give up with a wrong answer, is what a base
model is pre-trained on (after the idea of 'Stream of Search', arXiv 2404.03683, section 3).
"""

from __future__ import annotations

import random
from typing import NamedTuple

from tasks.countdown.plan import Plan, all_plans, random_plan


class Searcher(NamedTuple):
    """How somebody searches. `skill`: plans compared before a try; `patience`, `attention`: chances in [0, 1]."""

    skill: int
    patience: float
    attention: float
    max_tries: int

    def search(self, numbers: tuple[int, ...], target: int, rng: random.Random) -> tuple[list[Plan], bool]:
        """The plans tried in order and whether the searcher believes the last one right."""
        tries: list[Plan] = []
        seen: set[str] = set()
        while len(tries) < self.max_tries:
            plan = self._next(numbers, target, rng, seen)
            seen.add(plan.expression)
            tries.append(plan)
            if plan.value == target and rng.random() < self.attention:
                return tries, True
            if rng.random() > self.patience:
                break
        return tries, False

    def _next(self, numbers: tuple[int, ...], target: int, rng: random.Random, seen: set[str]) -> Plan:
        candidates = [random_plan(numbers, rng) for _ in range(self.skill)]
        fresh = [plan for plan in candidates if plan.expression not in seen] or candidates
        return min(fresh, key=lambda plan: abs(plan.value - target))


def crowd(rng: random.Random) -> Searcher:
    """One of the crowd: mostly unskilled, often impatient, seldom inattentive."""
    skill = rng.choice((1, 1, 1, 2, 2, 4, 4, 16))
    patience = rng.betavariate(1.2, 1.2)
    return Searcher(skill=skill, patience=patience, attention=0.9, max_tries=9)


HASTY_SKILLS = (1, 1, 2)
SYSTEMATIC = Searcher(skill=24, patience=1.0, attention=1.0, max_tries=6)


def hasty(rng: random.Random) -> Searcher:
    """One who guesses and mostly stops after the first guess."""
    return Searcher(rng.choice(HASTY_SKILLS), patience=rng.betavariate(1.0, 3.0), attention=0.95, max_tries=3)


def write_trace(tries: list[Plan], systematic: bool = False) -> str:
    """The compact text of a search; its answer is the last plan tried. A systematic one puts `?` before each try."""
    written = [",".join(map(str, plan.steps)) for plan in tries]
    head = "".join(f"?{one}" for one in written) if systematic else ";".join(written)
    return f"{head}#{tries[-1].expression}"


def demonstrate(numbers: tuple[int, ...], target: int, rng: random.Random) -> list[Plan]:
    """A systematic search whose last try is right: if the search runs out, a plan found by enumeration ends it."""
    shuffled = tuple(rng.sample(numbers, len(numbers)))
    tries, found = SYSTEMATIC.search(shuffled, target, rng)
    if not found:
        solution = next((plan for plan in all_plans(tuple(sorted(numbers))) if plan.value == target), None)
        if solution is None:
            raise ValueError(f"{numbers} cannot reach {target} in non-negative integers: no demonstration exists")
        tries[-1] = solution
    return tries
