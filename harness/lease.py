"""A lease on a run directory: exactly one process works on a run, and a dead one is noticed.

The claim is made under a file lock; the heartbeat is the lease's modification time, touched every few seconds by a
thread. A lease is dead when its process on this machine is gone, or when its heartbeat is older than `LEASE_SECONDS`.
Claims compare two times of the file system, so that on a shared folder no node's clock can take a living run away.
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
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.atomic import write_json
from harness.record import LEASE_SECONDS

_BEAT_SECONDS = 5.0


class LeaseHeld(Exception):
    """Somebody else is at work on this run."""


def age(path: Path, now: float | None = None) -> float | None:
    """Seconds since the last heartbeat; None without a lease; infinity if its process is known to be gone.

    `now` is the time by the file system's clock; this machine's clock where it is left out.
    """
    try:
        seconds = (time.time() if now is None else now) - path.stat().st_mtime
        holder = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        return float("inf")
    return float("inf") if _known_dead(holder) else seconds


def give_back(path: Path) -> None:
    """Remove the lease of a process that died on this machine, which other machines would wait a minute for."""
    with _locked(path), contextlib.suppress(FileNotFoundError):
        if age(path) == float("inf"):
            path.unlink()


class Lease:
    """`with Lease(path): ...` holds the run; raises LeaseHeld if a living process has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._claim = {
            "host": socket.gethostname(),
            "machine": _machine(),
            "pid": os.getpid(),
            "started": _started(os.getpid()),
            "claim": uuid.uuid4().hex,
        }
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Lease:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self.path) as now:
            held = age(self.path, now)
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


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[float]:
    """Hold the lock beside a lease; yields the time by the file system's clock."""
    with path.with_name(".lease.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.utime(lock.fileno())
        yield os.fstat(lock.fileno()).st_mtime


def _machine() -> str:
    """This boot of this kernel and this space of process numbers: hosts and containers may share a name."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _known_dead(holder: dict[str, Any]) -> bool:
    """Whether a lease names a process of this machine that is gone, or nobody at all."""
    if not {"host", "pid", "started"} <= set(holder):
        return True
    here = holder["host"] == socket.gethostname() and holder.get("machine", _machine()) == _machine()
    return here and not _alive(holder["pid"], holder["started"])


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
