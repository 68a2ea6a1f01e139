"""The record of every final run: what it was, what it cost, how it went and where, one section a run with its own link.

Everything is what the run directory holds, as the database has it: identity and settings, all meters, the stages and
the learning curve, the environment and the digest of the weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.numbers import MISSING, count, megabytes, points, seconds, setting
from reports.tables import Table
from results.database import connect, named_rows

_CLOCKS = ("train_seconds", "generate_seconds", "evaluate_seconds", "overhead_seconds", "device_seconds")
_COUNTS = (
    "flops", "generated_tokens", "prompt_tokens", "trained_tokens", "rollouts", "steps", "trainable_parameters",
    "total_parameters",
)  # fmt: skip


@dataclass(frozen=True)
class Record:
    """One run: `facts` are pairs of a name and a text; the tables have no rows where there is nothing to show."""

    run_id: str
    title: str
    facts: list[tuple[str, str]]
    stages: Table
    curve: Table


def read_records(database: Path, sweep: str) -> list[Record]:
    """The final runs of a sweep in the order of its methods and seeds, failed ones too."""
    with connect(database) as connection:
        runs = named_rows(
            connection,
            "SELECT f.method AS arm, r.*, e.* EXCLUDE (run_id) FROM finals f JOIN runs r USING (run_id) "
            "LEFT JOIN environments e USING (run_id) JOIN arms a ON a.sweep = f.sweep AND a.method = f.method "
            "WHERE f.sweep = ? ORDER BY a.position, f.position",
            sweep,
        )
        return [_record(connection, run) for run in runs]


def _record(connection: Any, run: dict[str, Any]) -> Record:
    stages = named_rows(connection, "SELECT * FROM stages WHERE run_id = ? ORDER BY stage", run["run_id"])
    curve = named_rows(connection, "SELECT * FROM curve WHERE run_id = ? ORDER BY stage, point, step", run["run_id"])
    return Record(run["run_id"], f"{run['arm']}, seed {run['seed']}", _facts(run), _stages(stages), _curve(curve))


def _facts(run: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and texts; what the run has not is left out."""
    facts: list[tuple[str, Any]] = [
        ("run", run["run_id"]),
        ("folder", run["folder"]),
        ("status", run["status"]),
        ("failure", run["failure"] and f"{run['failure']} in {run['failure_phase']}: {run['failure_message']}"),
        ("method", f"{run['method']} (version {run['method_version']})"),
        ("settings", _settings(run["parameters"])),
        ("training", _settings(run["training"])),
        ("negative control", run["control"]),
        ("task", f"{run['task']} (version {run['task_version']}) {_settings(run['task_parameters'])}"),
        ("model", f"{run['model']}, revision {run['revision']}"),
        ("budget", _settings(run["budget"])),
        ("evaluation", _settings(run["evaluation"])),
    ]
    if run["accuracy"] is not None:
        facts.append(("accuracy", f"{points(run['accuracy'])}% of {run['items']} items x {run['samples']} samples"))
        facts.append(("reward", f"{run['reward']:.4g}"))
        facts.append(("not parsed", f"{points(1 - run['well_formed'])}%"))
        facts.append(("truncated", f"{points(run['truncated'])}%"))
    facts += [(name.replace("_", " "), seconds(run[name])) for name in _CLOCKS if run[name] is not None]
    facts += [(name.replace("_", " "), count(run[name])) for name in _COUNTS if run[name] is not None]
    facts += [
        ("peak memory", None if run["peak_memory_bytes"] is None else megabytes(run["peak_memory_bytes"])),
        ("weights", run["weights_digest"]),
        ("taken up again", f"{run['resumed']} times" if run["resumed"] else None),
        ("code", run["commit"] and run["commit"] + (" with changes" if run["dirty"] else "")),
        (
            "machine",
            run["cpu"] and f"{run['cpu']}, {run['threads']} of {run['cores']} threads, {run['gpu'] or 'no GPU'}",
        ),
        ("python", run["python"]),
    ]
    return [(name, str(text)) for name, text in facts if text not in (None, "")]


def _settings(text: str | None) -> str:
    """`rank 8, sigma 0.1`: JSON as words, what is null left out."""
    given = json.loads(text) if text else {}
    return ", ".join(f"{name.replace('_', ' ')} {setting(value)}" for name, value in given.items() if value is not None)


def _stages(rows: list[dict[str, Any]]) -> Table:
    cells = [
        [
            str(row["stage"] + 1),
            seconds(row["device_seconds"]),
            count(row["flops"]),
            count(row["generated_tokens"]),
            count(row["trained_tokens"]),
            f"{row['steps']}",
            points(row["accuracy"]),
            row["stopped_by"] or "itself",
        ]
        for row in rows
    ]
    names = ["stage", "time", "FLOPs", "generated", "trained", "steps", "accuracy after", "ended by"]
    return Table("Stages", names, cells, left=frozenset({"ended by"}))


def _curve(rows: list[dict[str, Any]]) -> Table:
    cells = [
        [
            str(row["stage"] + 1),
            f"{row['step']}",
            seconds(row["device_seconds"]),
            count(row["flops"]),
            count(row["generated_tokens"]),
            points(row["accuracy"]),
            MISSING if row["reward"] is None else f"{row['reward']:.3f}",
        ]
        for row in rows
    ]
    return Table("Learning curve", ["stage", "step", "time", "FLOPs", "generated", "accuracy", "reward"], cells)
