"""Grading throughput of every registered task: completions a second on one core, right and wrong ones mixed.

    python benchmarks/grading.py [--json]

Answers are the demonstrations of val items, every second one given to another item, so that both verdicts are timed.
`of limit` is the share of the time that reading the same texts once would take (a scan of every character): how far a
grader is from the least work that any grader must do. Tasks that need data which does not come with them are left out
and named.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from harness.contracts import LikelihoodTask
from harness.errors import UserError
from harness.registry import tasks

ITEMS, SECONDS = 12, 0.5


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true")
    as_json = arguments.parse_args().json
    rows, left_out = [], []
    for name, entry in tasks().items():
        for level in (None, *entry.levels):
            try:
                rows.append(_measure(name, level, entry.create(**({"level": level} if level else {}))))
            except UserError as error:
                left_out.append({"task": name, "why": str(error)})
                break
    if as_json:
        json.dump({"rows": rows, "left out": left_out}, sys.stdout, indent=1)
        return
    print(f"{'task':<24} {'graded/s':>10} {'us each':>8} {'of limit':>8}")
    for row in rows:
        label = f"{row['task']} {row['level'] or ''}"
        print(f"{label:<24} {row['per_second']:>10,.0f} {row['microseconds']:>8.1f} {row['of_limit']:>8.1%}")
    for row in left_out:
        print(f"{row['task']:<24} left out: {row['why']}")


def _measure(name: str, level: str | None, task: Any) -> dict[str, Any]:
    items = task.items("val", ITEMS)
    if isinstance(task, LikelihoodTask):
        raise UserError("scored by likelihoods, nothing is graded")
    texts = [task.demonstration(item) for item in items]
    pairs = [(item, texts[(place + place % 2) % len(texts)]) for place, item in enumerate(items)]
    graded, started = 0, time.process_time()
    while (spent := time.process_time() - started) < SECONDS:
        for item, text in pairs:
            task.grade(item, text)
        graded += len(pairs)
    scanned, started = 0, time.process_time()
    while (scan := time.process_time() - started) < SECONDS / 5:
        for _, text in pairs:
            for _character in text:
                pass
        scanned += len(pairs)
    return {
        "task": name,
        "level": level,
        "per_second": graded / spent,
        "microseconds": 1e6 * spent / graded,
        "of_limit": (scan / scanned) / (spent / graded),
    }


if __name__ == "__main__":
    main()
