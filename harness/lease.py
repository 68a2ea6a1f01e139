"""A lease on a run directory: exactly one process works on a run, and a dead one is noticed.

The claim is made under a file lock; the heartbeat is the lease's modification time, touched every few seconds by a
thread. A lease is dead when its process on this host is gone, or when its heartbeat is older than `LEASE_SECONDS`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType

from harness.atomic import write_json
from harness.record import LEASE_SECONDS

_BEAT_SECONDS = 5.0


class LeaseHeld(Exception):
    """Somebody else is at work on this run."""


def age(path: Path) -> float | None:
    """Seconds since the last heartbeat; None without a lease; infinity if its process is known to be gone."""
    try:
        seconds = time.time() - path.stat().st_mtime
        holder = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        return float("inf")
    if not {"host", "pid", "started"} <= set(holder):
        return float("inf")
    if holder["host"] == socket.gethostname() and not _alive(holder["pid"], holder["started"]):
        return float("inf")
    return seconds


class Lease:
    """`with Lease(path): ...` holds the run; raises LeaseHeld if a living process has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._claim = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": _started(os.getpid()),
            "claim": uuid.uuid4().hex,
        }
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Lease:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(".lease.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            held = age(self.path)
            if held is not None and held < LEASE_SECONDS:
                raise LeaseHeld(f"{self.path.parent} is being worked on")
            write_json(self.path, self._claim)
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()
        return self

    def _beat(self) -> None:
        while not self._stop.wait(_BEAT_SECONDS):
            if self._is_ours():
                with contextlib.suppress(FileNotFoundError):
                    os.utime(self.path)

    def _is_ours(self) -> bool:
        """Whether nobody took the lease over, as somebody may from a process that slept too long."""
        try:
            return bool(json.loads(self.path.read_text()) == self._claim)
        except (FileNotFoundError, ValueError):
            return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._is_ours():
            self.path.unlink(missing_ok=True)


def _started(pid: int) -> float | None:
    """The process's start in clock ticks since boot: tells a reused pid from the one that took the lease."""
    try:
        return float(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def _alive(pid: int, started: float | None) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return started is None or _started(pid) in (None, started)
