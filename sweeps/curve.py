"""The learning curve of a run while it is drawn: accuracy on val at each point of the budget, from its event log."""

from __future__ import annotations

import json
from pathlib import Path

_MARK = b'"curve"'


class CurveReader:
    """Reads event logs again only when they have changed."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[tuple[int, int], dict[int, float]]] = {}

    def read(self, events: Path) -> dict[int, float]:
        """0-based point of the curve -> accuracy; a torn last line is left out."""
        try:
            status = events.stat()
        except FileNotFoundError:
            return {}
        stamp = (status.st_size, status.st_mtime_ns)
        if events not in self._seen or self._seen[events][0] != stamp:
            self._seen[events] = (stamp, _curve(events.read_bytes()))
        return self._seen[events][1]

    def mean(self, logs: list[Path]) -> dict[int, float]:
        """The mean over several runs, at the points that all of them have reached."""
        curves = [self.read(log) for log in logs]
        points = set.intersection(*(set(curve) for curve in curves))
        return {point: sum(curve[point] for curve in curves) / len(curves) for point in sorted(points)}


def _curve(content: bytes) -> dict[int, float]:
    curve = {}
    for line in content.split(b"\n")[:-1]:
        if _MARK in line:
            event = json.loads(line)
            if event["kind"] == "curve" and event["accuracy"] is not None:
                curve[int(event["point"]) - 1] = float(event["accuracy"])
    return curve
