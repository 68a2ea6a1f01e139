"""Runs on this machine, one process a run, forked from a server that has the heavy imports done.

A run starts in well under a second, and an out-of-memory kill or a crash takes that run alone. Each process leads its
own process group, writes to `output.log` in its run directory and ignores Ctrl-C: the controller decides what a Ctrl-C
means and cancels with SIGTERM, then SIGKILL. A process whose controller is gone ends itself within seconds, so that
nothing goes on unwatched; the run can be taken up again from its directory.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from harness.contracts import Handle, Resources
from harness.errors import UserError
from harness.fork_server import begin, fork_server

Work = Callable[[Path, Resources], int]
"""`harness.worker.work` or a stand-in that can be pickled: takes a run directory, returns an exit code."""
_GRACE_SECONDS = 5.0


class LocalExecutor:
    """`slots` runs at a time; by default as many as there are GPUs for, or cores where there is no GPU."""

    name = "local"
    lag_seconds = 0.0

    def __init__(
        self,
        slots: int | None = None,
        work: Work | None = None,
        threads: int | None = None,
        gpus: int | None = None,
        processes: int = 1,
        zero_stage: int = 0,
        tensor_parallel: int = 1,
    ) -> None:
        cores = len(os.sched_getaffinity(0))
        self.devices = visible_gpus() if gpus != 0 else ()
        if slots is not None and slots < 1:
            raise UserError(f"slots={slots} is not possible: at least one run must be able to go on (--slots 1).")
        each = processes * tensor_parallel
        self.slots = slots or len(self.devices) // each or max(1, cores // ((threads or 1) * each))
        self.resources = Resources(
            threads or max(1, cores // (self.slots * each)),
            min(each, len(self.devices)),
            processes,
            zero_stage,
            tensor_parallel,
        )
        self._work = work
        self._running: dict[int, LocalHandle] = {}

    def prepare(self) -> None:
        """Start the fork server, which then does its imports by itself."""
        self._server()

    def submit(self, run_directory: Path, resources: Resources | None = None) -> LocalHandle:
        """Start the run of a directory; never more than `slots` at a time."""
        self._running = {slot: handle for slot, handle in self._running.items() if handle.poll() is None}
        free = [slot for slot in range(self.slots) if slot not in self._running]
        if not free:
            raise RuntimeError(f"all {self.slots} slots are taken")
        given = resources or self.resources
        first = free[0] * given.gpus
        devices = [self.devices[place % len(self.devices)] for place in range(first, first + given.gpus)]
        process = self._server().Process(
            target=_run, args=(self._work, run_directory, given, devices), name=run_directory.name
        )
        process.start()
        self._running[free[0]] = LocalHandle(process)
        return self._running[free[0]]

    def wait(self, seconds: float) -> None:
        """Until a run ends, one has ended since this was last called, or `seconds` are over."""
        going = {slot: handle for slot, handle in self._running.items() if handle.poll() is None}
        ended, self._running = len(going) < len(self._running), going
        if going and not ended:
            wait([handle.sentinel for handle in going.values()], seconds)
        elif not ended:
            time.sleep(seconds)

    def close(self) -> None:
        """Cancel whatever still runs and wait until it is gone."""
        handles = [handle for handle in self._running.values() if handle.poll() is None]
        for handle in handles:
            handle.cancel()
        deadline = time.monotonic() + _GRACE_SECONDS
        for handle in handles:
            handle.wait(max(0.0, deadline - time.monotonic()))
        self._running = {}

    def _server(self) -> ForkServerContext:
        return fork_server(load=self._work is None)


class LocalHandle(Handle):
    """One run's process."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def sentinel(self) -> int:
        """What becomes ready when it ends, for `multiprocessing.connection.wait`."""
        return self._process.sentinel

    def poll(self) -> int | None:
        """None while it runs, else its exit code; the negative number of the signal that killed it."""
        code = self._process.exitcode
        if code is not None:
            self._signal(signal.SIGKILL)  # what the run started must not outlive it
        return code

    def cancel(self) -> None:
        """Ask the run to end; it can be taken up again later."""
        self._signal(signal.SIGTERM)

    def wait(self, seconds: float) -> None:
        """Give the run `seconds` to end, then kill it."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            self._signal(signal.SIGKILL)
            self._process.join()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            if self._process.exitcode is None:  # not yet the leader of its group
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, number)


def visible_gpus() -> tuple[str, ...]:
    """The NVIDIA devices this process may use, without loading CUDA."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1"))
    numbers = [path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")]
    return tuple(sorted((number for number in numbers if number.isdigit()), key=int))


def _run(work: Work | None, run_directory: Path, resources: Resources, devices: list[str]) -> None:
    """What the process of a run does; leaves with the exit code of `work`."""
    begin()
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_controller, name="controller watch", daemon=True).start()
    run_directory.mkdir(parents=True, exist_ok=True)
    log = os.open(run_directory / "output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    if devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    os.environ["OMP_NUM_THREADS"] = str(resources.threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(resources.threads)
    if work is None:
        work = importlib.import_module("harness.worker").work
    sys.exit(work(run_directory, resources))


def _end_with_controller() -> None:
    """Wait for the controller's end of the pipe to close, then take down this run and whatever it started."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.killpg(os.getpgrp(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os.killpg(os.getpgrp(), signal.SIGKILL)
