"""Grade a finished run's stored answers again with the grader that is installed now; no model is loaded.

The answers and their first verdicts stay as they are. New verdicts are written beside them as `regrades/N.parquet`, N
the version of the task that gave them, and become rows of their own in the database. The same version must give the
same verdicts: where it does not, the grader was changed without a new version, and that is said.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from harness.contracts import Item, LikelihoodTask, Task
from harness.errors import UserError
from harness.record import RunDirectory
from harness.registry import find_task


@dataclass(frozen=True)
class Regraded:
    """What regrading one run found."""

    run_id: str
    task: str
    from_version: int
    to_version: int
    answers: int
    before: float
    """Accuracy by the stored verdicts."""
    after: float
    changed: int
    """Answers whose verdict on correctness differs."""


def regrade(directory: RunDirectory) -> Regraded:
    """Grade a done run again; UserError if its questions are gone or its version's verdicts have changed."""
    import pyarrow.parquet as pq

    spec = directory.read_spec()
    entry = find_task(spec.task.name)
    rows = pq.read_table(directory.samples).to_pylist()
    task = entry.create(**spec.task.parameters)
    if isinstance(task, LikelihoodTask):
        raise UserError(f"Run {spec.run_id}: {task.name!r} is scored by likelihoods, it has no answers to grade again.")  # type: ignore[attr-defined]
    known = _items(task, spec.evaluation.split, spec.evaluation.items)
    lost = sorted({row["item_id"] for row in rows} - set(known))
    if lost:
        raise UserError(
            f"Run {spec.run_id}: version {entry.version} of {spec.task.name} no longer has {len(lost)} of its "
            f"questions ({lost[0]} is one), so its answers cannot be graded again."
        )
    graded = [_row(task, known[row["item_id"]], row, entry.version) for row in rows]
    changed = sum(old["correct"] != new["correct"] for old, new in zip(rows, graded, strict=True))
    if entry.version == spec.task.version and changed:
        raise UserError(
            f"Run {spec.run_id}: {changed} verdicts differ although {spec.task.name} is still version {entry.version}: "
            "its grader was changed without a new version; raise it in @task."
        )
    if entry.version != spec.task.version:
        _write(directory, graded, entry.version)
    return Regraded(
        spec.run_id,
        spec.task.name,
        spec.task.version,
        entry.version,
        len(rows),
        _accuracy(rows),
        _accuracy(graded),
        changed,
    )


def _items(task: Task, split: str, n: int) -> dict[str, Item]:
    return {item.id: item for item in task.items(split, n)}


def _row(task: Task, item: Item, row: dict[str, Any], version: int) -> dict[str, Any]:
    grade = task.grade(item, row["completion"])
    return {
        "task_version": version,
        "item_id": row["item_id"],
        "item_index": row["item_index"],
        "sample": row["sample"],
        "correct": grade.correct,
        "reward": grade.reward,
        "well_formed": grade.well_formed,
        "reason": grade.reason,
        "parsed": grade.parsed,
        "measures": json.dumps(dict(grade.measures), sort_keys=True) if grade.measures else None,
    }


def _accuracy(rows: list[dict[str, Any]]) -> float:
    return sum(row["correct"] for row in rows) / len(rows)


def _write(directory: RunDirectory, rows: list[dict[str, Any]], version: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    directory.regrades.mkdir(exist_ok=True)
    temporary = directory.regrades / f".{version}.{os.getpid()}.tmp"
    try:
        pq.write_table(pa.Table.from_pylist(rows), temporary)
        os.replace(temporary, directory.regrades / f"{version}.parquet")
    finally:
        temporary.unlink(missing_ok=True)
