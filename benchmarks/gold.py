"""Gold answers against their own graders: every generated task and level, 10,000 items each or all that there are.

    python benchmarks/gold.py [--items 10000]

Items are taken from test, val and train. A gold answer that is not right, not well formed or has a reward below 0 is
counted as refused; the last column is how often the next item's gold answer was accepted in its place, which
is right only where the two are the same question asked twice in other words.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from harness.contracts import LikelihoodTask
from harness.errors import UserError
from harness.registry import tasks

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
    return 1 if refused else 0


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
