"""Gold answers against their own graders: every generated task and level, 10,000 items each or all that there are, and
every grader of one's own data by name on as many generated answers.

    python benchmarks/gold.py [--items 10000]

Items are taken from test, val and train. A gold answer that is not right, not well formed or has a reward below 0 is
counted as refused; the last column is how often the next item's gold answer was accepted in its place, which
is right only where the two are the same question asked twice in other words.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from harness.contracts import LikelihoodTask
from harness.errors import UserError
from harness.registry import tasks
from tasks.graders import Settings, make_grader

SPLITS = ("train", "val", "test")


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--items", type=int, default=10_000, help="items a task and level")
    wanted = arguments.parse_args().items
    refused = 0
    print(f"{'task':<26} {'items':>7} {'refused':>8} {'others accepted':>16} {'seconds':>8}")
    for name, entry in tasks().items():
        for level in entry.levels or (None,):
            started = time.perf_counter()
            try:
                task = entry.create(**({"level": level} if level else {}))
                if isinstance(task, LikelihoodTask):
                    break
                items = _items(task, wanted)
            except UserError:
                break  # its data are the user's
            wrong, accepted = _count(task, items)
            refused += wrong
            label, spent = f"{name} {level or ''}", time.perf_counter() - started
            print(f"{label:<26} {len(items):>7,} {wrong:>8} {accepted:>16} {spent:>8.1f}", flush=True)
    for name, (settings, answer) in GRADERS.items():
        started = time.perf_counter()
        grader = make_grader(name, Settings(**settings))
        golds = list(dict.fromkeys(answer(random.Random(f"{name} {place}")) for place in range(2 * wanted)))[:wanted]
        graded = [grader.grade("", [gold], grader.demonstration(gold)) for gold in golds]
        wrong = sum(not (grade.correct and grade.well_formed and grade.reward > 0) for grade in graded)
        others = zip(golds, golds[1:] + golds[:1], strict=True)
        accepted = sum(grader.grade("", [gold], grader.demonstration(other)).correct for gold, other in others)
        refused += wrong
        spent = time.perf_counter() - started
        print(f"{f'jsonl {name}':<26} {len(golds):>7,} {wrong:>8} {accepted:>16} {spent:>8.1f}", flush=True)
    return 1 if refused else 0


def _number(rng: random.Random) -> str:
    return f"{'-' * rng.randint(0, 1)}{rng.choice(('{:,}', '{}'))}".format(rng.randint(0, 10**7))


def _formula(rng: random.Random) -> str:
    a, b, c = (rng.randint(2, 99) for _ in range(3))
    forms = (f"\\frac{{{a}}}{{{b}}}", f"{a}\\sqrt{{{b}}}", f"{a}x^{{2}}+{b}x-{c}", f"({a},{b},{c})", f"{a}\\pi+{b}")
    return rng.choice(forms)


def _words(rng: random.Random) -> str:
    return " ".join("".join(rng.choices("bcdfgklmnprst", k=rng.randint(3, 7))) for _ in range(rng.randint(1, 8)))


GRADERS: dict[Any, tuple[dict[str, Any], Callable[[random.Random], str]]] = {
    "exact": ({}, _words),
    "numeric": ({}, _number),
    "math": ({}, _formula),
    "regex": ({"pattern": "answer: (.+)"}, lambda rng: f"so the answer: {_words(rng)}"),
    "f1": ({}, _words),
    "rouge-l": ({}, _words),
    "bleu": ({}, _words),
}
"""Graders of one's own data with answers of their kind; the judge is a model and has no gold of its own."""


def _items(task: Any, wanted: int) -> list[Any]:
    """Test and val may hold fewer than a third of `wanted`; train gives the rest."""
    found: list[Any] = []
    for split in reversed(SPLITS):
        share = wanted - len(found) if split == "train" else wanted // 3
        try:
            found += task.items(split, share)
        except UserError:
            found += task.items(split)
    return found


def _count(task: Any, items: list[Any]) -> tuple[int, int]:
    golds = [task.demonstration(item) for item in items]
    wrong = accepted = 0
    for place, item in enumerate(items):
        grade = task.grade(item, golds[place])
        wrong += not (grade.correct and grade.well_formed and grade.reward >= 0)
        accepted += task.grade(item, golds[place - 1]).correct
    return wrong, accepted


if __name__ == "__main__":
    sys.exit(main())
