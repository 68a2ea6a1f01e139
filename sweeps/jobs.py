"""The runs a sweep wants, as processes: what may be submitted, what is at work, how it ended.

Truth is in the run directories; this only adds which processes are ours and how often each run was tried. A run that
was killed is submitted once more; one that fails again, or fails by itself, is failed. A run whose machine was lost
goes on elsewhere, up to four times. A run that somebody else works on is waited for. On a new start of the sweep a
failed run gets one new chance, unless it failed by its own numbers (nan).
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Literal

from harness.atomic import write_json
from harness.contracts import LOST, Executor, Handle, Resources
from harness.lease import Lease, LeaseHeld
from harness.record import Failure, RunDirectory
from harness.spec import RunSpec

Look = Literal["ready", "busy", "done", "failed", "pruned"]
_ATTEMPTS = 2
_LOSSES = 5
"""The loss of a machine is no fault of the run's, unless it happens whenever the run is there."""
_HELD_ELSEWHERE = 4
_HELD_SECONDS = 2.0
"""How long a run that turned out to be held elsewhere is left alone."""


class Jobs:
    """Runs by identity: two arms that want the same run share it."""

    def __init__(self, runs: Path, executor: Executor, resources: Resources) -> None:
        self.runs = runs
        self.executor = executor
        self.resources = resources
        self._directories: dict[str, RunDirectory] = {}
        self._handles: dict[str, Handle] = {}
        self._attempts: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._codes: dict[str, int] = {}
        self._ended: dict[str, float] = {}
        self._left_alone: dict[str, float] = {}

    @property
    def free(self) -> int:
        """How many runs could be submitted now."""
        return self.executor.slots - sum(handle.poll() is None for handle in self._handles.values())

    @property
    def submitted(self) -> int:
        """How many processes were started."""
        return self._attempts.total()

    def directory(self, spec: RunSpec) -> RunDirectory:
        """The run's files; asked again and again."""
        found = self._directories.get(spec.run_id)
        if found is None:
            found = self._directories[spec.run_id] = RunDirectory.of(self.runs, spec)
        return found

    def ours(self, spec: RunSpec) -> bool:
        """Whether one of our processes works on the run."""
        return spec.run_id in self._handles

    def look(self, spec: RunSpec) -> Look:
        """Where a run stands; `ready` may be submitted."""
        handle = self._handles.get(spec.run_id)
        if handle is not None:
            code = handle.poll()
            if code is None:
                return "busy"
            del self._handles[spec.run_id]
            self._codes[spec.run_id] = code
            self._ended[spec.run_id] = time.monotonic()
            self._lost[spec.run_id] += code == LOST
            if code == _HELD_ELSEWHERE:
                self._attempts[spec.run_id] -= 1
                self._left_alone[spec.run_id] = time.monotonic() + _HELD_SECONDS
        status = self.directory(spec).status()
        if status in ("done", "pruned"):
            return "done" if status == "done" else "pruned"
        if status == "running" or time.monotonic() < self._left_alone.get(spec.run_id, 0.0):
            return "busy"
        if status == "failed":
            return self._after_failure(spec)
        return self._after_silence(spec)

    def submit(self, spec: RunSpec) -> None:
        """Write the spec and start the run, or take it up where it stopped."""
        directory = self.directory(spec)
        directory.path.mkdir(parents=True, exist_ok=True)
        if not directory.spec.exists():
            write_json(directory.spec, spec.model_dump(mode="json"))
        directory.prune.unlink(missing_ok=True)
        self._attempts[spec.run_id] += 1
        self._handles[spec.run_id] = self.executor.submit(directory.path, self.resources)

    def prune(self, spec: RunSpec) -> None:
        """Ask a run to stop at its next step."""
        self.directory(spec).prune.touch()

    def _after_failure(self, spec: RunSpec) -> Look:
        failure = self.directory(spec).read_failure().failure
        losses = self._lost[spec.run_id]
        attempts = self._attempts[spec.run_id] - losses
        if attempts == 0 and losses < _LOSSES:
            return "failed" if failure == "nan" else "ready"
        return "ready" if failure == "killed" and attempts < _ATTEMPTS else "failed"

    def _after_silence(self, spec: RunSpec) -> Look:
        """A run without result and error: new, or its process died before it could write one."""
        code = self._codes.get(spec.run_id)
        if self._attempts[spec.run_id] == 0 or code is None:
            return "ready"
        losses = self._lost[spec.run_id]
        kills = self._attempts[spec.run_id] - losses
        if (code < 0 and kills < _ATTEMPTS) or (code == LOST and losses < _LOSSES):
            return "ready"
        if code >= 0 and time.monotonic() - self._ended[spec.run_id] < self.executor.lag_seconds:
            return "busy"
        directory = self.directory(spec)
        if code < 0:
            message = f"killed by signal {-code}, twice"
        elif code == LOST:
            message = f"lost {losses} times with the machine or the process that it was started by"
        else:
            message = f"ended with code {code} and without a result; last words: {_last_words(directory.path)}"
        failure = Failure(
            phase="process",
            failure="killed" if code < 0 or code == LOST else "bug",
            message=message,
            traceback=None,
            at=time.time(),
        )
        try:
            with Lease(directory.lease):
                write_json(directory.error, failure.model_dump(mode="json"))
        except LeaseHeld:
            return "busy"
        return "failed"


def _last_words(run: Path) -> str:
    log = run / "output.log"
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "none")
