"""Runs as tasks of a Ray cluster: one task a run, on whichever node has its threads and GPUs free.

Every node needs this installation and sees the runs directory under the same path. Ray repeats nothing by itself: a
task that was lost with its worker or node comes back as LOST, and the controller submits the same run again, which goes
on from its checkpoint and counts that in its record.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

from harness.contracts import LOST, Handle, Resources
from harness.errors import UserError
from harness.executors.local import Work
from harness.executors.node import run_on_node

_GRACE_SECONDS = 10.0
_CONNECT_SECONDS = 10.0
_NODES_SECONDS = 2.0
"""How long a count of the nodes is good for."""


class RayExecutor:
    """As many runs at a time as the nodes that are alive have room for, or `slots`.

    A number of slots of one's own may be larger than that: Ray queues what does not fit, and a cluster that grows by
    what is queued grows. UserError without Ray, without a cluster at `address`, or when no node could ever take a run.
    """

    name = "ray"
    lag_seconds = 30.0

    def __init__(
        self,
        address: str = "auto",
        resources: Resources | None = None,
        slots: int | None = None,
        work: Work | None = None,
    ) -> None:
        self.resources = resources or Resources()
        self._ray = _connected(address)
        self._slots = slots
        self._counted: tuple[float, int] | None = None
        self._task = self._ray.remote(max_retries=0)(run_on_node)
        self._work = work
        self._running: list[RayHandle] = []
        if not self._room():
            raise UserError(self._refusal())

    @property
    def slots(self) -> int:
        """How many runs fit the nodes that are alive now, where no number was given."""
        if self._slots is not None:
            return self._slots
        now = time.monotonic()
        if self._counted is None or now - self._counted[0] > _NODES_SECONDS:
            self._counted = (now, self._room())
        return self._counted[1]

    def prepare(self) -> None:
        """Nothing: the cluster's nodes begin with their first run."""

    def submit(self, run_directory: Path, resources: Resources | None = None) -> RayHandle:
        """Send a run to the cluster."""
        wanted = resources or self.resources
        task = self._task.options(
            num_cpus=wanted.threads * wanted.devices, num_gpus=wanted.gpus, name=run_directory.name
        )
        handle = RayHandle(self._ray, task.remote(str(run_directory.absolute()), wanted, self._work, os.getcwd()))
        self._running = [*(one for one in self._running if one.poll() is None), handle]
        return handle

    def wait(self, seconds: float) -> None:
        """Until a task ends, one has ended since this was last called, or `seconds` are over."""
        going = [one for one in self._running if one.alive()]
        ended, self._running = len(going) < len(self._running), going
        if going and not ended:
            self._ray.wait([one.reference for one in going], timeout=seconds)
        elif not ended:
            time.sleep(seconds)

    def close(self) -> None:
        """Cancel whatever still runs, wait until it is gone, and leave the cluster."""
        for force in (False, True):
            left = [one for one in self._running if one.alive()]
            for handle in left:
                handle.cancel(force)
            deadline = time.monotonic() + _GRACE_SECONDS
            while any(one.alive() for one in left) and time.monotonic() < deadline:
                time.sleep(0.05)
        self._running = []
        self._ray.shutdown()

    def _room(self) -> int:
        return sum(_fits(node["Resources"], self.resources) for node in self._ray.nodes() if node["Alive"])

    def _refusal(self) -> str:
        alive = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        there = "; ".join(f"{one.get('CPU', 0):g} threads and {one.get('GPU', 0):g} GPUs" for one in alive)
        wanted = f"{self.resources.threads * self.resources.devices} threads and {self.resources.gpus} GPUs"
        return f"A run wants {wanted}, and no node of the Ray cluster has them: there is {there or 'no node'}."


class RayHandle(Handle):
    """One run's task."""

    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray = ray
        self.reference = reference
        self._code: int | None = None

    def poll(self) -> int | None:
        """None while it runs or waits for a node; UserError when its node cannot run anything of this sweep."""
        if self._code is None and self._ray.wait([self.reference], timeout=0)[0]:
            self._code = self._outcome()
        return self._code

    def cancel(self, force: bool = False) -> None:
        """Ask the run to end; with `force`, end the worker that watches it, and the run with that."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.cancel(self.reference, force=force)

    def alive(self) -> bool:
        """Whether its task has not ended."""
        return self._code is None and not self._ray.wait([self.reference], timeout=0)[0]

    def _outcome(self) -> int:
        errors = self._ray.exceptions
        try:
            outcome = self._ray.get(self.reference)
        except errors.TaskCancelledError:
            return -signal.SIGTERM
        except errors.OutOfMemoryError:
            return -signal.SIGKILL
        except errors.RayTaskError as error:
            words = str(error.cause).strip().partition("\n")[0]
            raise UserError(
                f"A node of the Ray cluster could not start a run ({type(error.cause).__name__}: {words}): "
                "every node needs the same installation of beyondrl."
            ) from None
        except errors.RayError:  # the worker, its node, or what either held: nobody knows how the run ended
            return LOST
        if isinstance(outcome, str):
            raise UserError(outcome)
        return int(outcome)


def _fits(node: dict[str, float], wanted: Resources) -> int:
    """How many runs a node has room for."""
    room = [node.get("CPU", 0.0) // (wanted.threads * wanted.devices)]
    if wanted.gpus:
        room.append(node.get("GPU", 0.0) // wanted.gpus)
    return int(min(room))


def _connected(address: str) -> Any:
    """Ray, connected to the cluster at `address`."""
    if address.startswith("ray://"):
        raise UserError(
            f"{address} is a Ray client's address: run beyondrl on a node of the cluster (--ray-address auto)."
        )
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise UserError("Ray is not installed: pip install 'beyondrl[ray]', here and on every node.") from None
    try:
        host, _, port = address.rpartition(":")
        if host and port.isdigit():  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        words = str(error).strip().partition("\n")[0].partition(". ")[0]
        raise UserError(
            f"There is no Ray cluster to be reached at {address!r} ({words.rstrip('.')}): "
            "ray start --head here, or --ray-address HOST:PORT."
        ) from None
    return ray
