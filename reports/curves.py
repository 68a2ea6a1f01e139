"""What figures draw: a method's curve over its seeds, a run's cost with and without tuning, the best at each cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.comparison import Standing
from reports.sweep_data import MethodData


def mean_curve(method: MethodData, column: str) -> list[tuple[float, float]]:
    """(mean cost, mean accuracy) at each point that every finished seed reached."""
    return [(_mean(rows, column), _mean(rows, "accuracy")) for rows in _whole(method)]


def band(method: MethodData, column: str) -> list[tuple[float, float, float]]:
    """(mean cost, lowest accuracy, highest accuracy) of the seeds at each point of `mean_curve`."""
    return [
        (_mean(rows, column), min(row["accuracy"] for row in rows), max(row["accuracy"] for row in rows))
        for rows in _whole(method)
    ]


def costs(one: Standing, column: str) -> tuple[float, float]:
    """Cost of one final run, and of that with all the tuning before it."""
    alone = _mean(one.method.runs, column)
    return alone, alone + float(sum(trial[column] or 0.0 for trial in one.method.trials))


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, score) that no cheaper or equally cheap one beats, by rising cost."""
    found: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda p: (p[0], -p[1])):
        if not found or score > found[-1][1]:
            found.append((cost, score))
    return found


def _whole(method: MethodData) -> list[list[dict[str, Any]]]:
    """The rows of each point that every finished seed reached."""
    by_point: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in method.curve:
        by_point.setdefault((row["stage"], row["point"]), []).append(row)
    return [rows for _, rows in sorted(by_point.items()) if len(rows) == len(method.seeds)]


def _mean(rows: Sequence[dict[str, Any]], column: str) -> float:
    return float(sum(row[column] for row in rows) / len(rows))
