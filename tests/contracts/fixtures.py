"""What a task needs so that the contract suite can try it: data it does not bring, and how to tell its gold answer.

A task whose items are downloaded or the user's own is tried on a small file in its format, written for this purpose
(`tests/tasks/data`). Every such task has its line here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "tasks" / "data"
_MATHEMATICS = {"data": str(DATA / "mathematics" / "test.jsonl"), "train": str(DATA / "mathematics" / "train.jsonl")}
PARAMETERS: dict[str, dict[str, Any]] = {
    "gsm8k": {"data": str(DATA / "gsm8k")},
    "math-500": _MATHEMATICS,
    "aime": _MATHEMATICS | {"data": str(DATA / "mathematics" / "aime.jsonl")},
    "amc": _MATHEMATICS,
    "minerva": _MATHEMATICS,
    "olympiadbench": _MATHEMATICS,
    "jsonl": {"data": str(DATA / "jsonl")},
    "arc": {"data": str(DATA / "arc")},
}
"""Parameters to try a task with, where its defaults need a download or the user's data."""
