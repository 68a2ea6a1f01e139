"""The event log of a run: `events.jsonl`, one JSON object a line, one write a line.

A line has `time` (seconds since the epoch), `kind` and the kind's own fields. `read` stops at a torn last line (a
killed writer leaves one), and `truncate` cuts it off before the log is continued.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any


class EventLog:
    """Appends to the log of one run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, kind: str, **fields: Any) -> None:
        """Append one event; non-finite numbers become null, so that every line is strict JSON."""
        line = json.dumps({"time": round(time.time(), 3), "kind": kind, **_finite(fields)}, allow_nan=False) + "\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def keep(self, count: int) -> None:
        """Keep only the first `count` events: what came after the checkpoint that a run resumes from is undone."""
        if not self.path.exists():
            return
        lines = self.path.read_bytes().splitlines(keepends=True)[:count]
        temporary = self.path.with_suffix(".tmp")
        temporary.write_bytes(b"".join(lines))
        os.replace(temporary, self.path)

    def count(self) -> int:
        """How many whole events there are."""
        return len(read_events(self.path))


def read_events(path: Path) -> list[dict[str, Any]]:
    """Every whole event of a log; a torn last line is left out."""
    if not path.exists():
        return []
    events = []
    for line in path.read_bytes().split(b"\n"):
        try:
            events.append(json.loads(line))
        except ValueError:
            break
    return events


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return value
