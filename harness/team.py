"""The other processes of a run that is done by several on one machine: started, joined and watched by the first.

Each works on a copy of the run's directory of its own, so that what it writes is thrown away: lease, events,
checkpoints, samples and result are the first process's alone. With GPUs each process sees one of the run's. What went
wrong in one of them is handed to the first, which writes it down.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from harness.contracts import LOST, Resources
from harness.fork_server import begin, fork_server
from harness.ranks import ALONE, PeerLost, Ranks
from harness.record import Failure, RunDirectory

Follow = Callable[[RunDirectory, Resources, Ranks], Failure | None]
"""What a process other than the first does with its copy of the run; it can be pickled."""
_PATIENCE = timedelta(days=1)  # one process may have to wait for another's share; one that is gone is noticed at once
_GRACE_SECONDS = 20.0
_LOOK_SECONDS = 0.02
_HERE = "127.0.0.1"


class Team:
    """The processes of one run, seen by the first of them."""

    def __init__(self, ranks: Ranks = ALONE) -> None:
        self.ranks = ranks
        self._others: list[tuple[BaseProcess, Connection]] = []

    def why(self) -> Failure | int | None:
        """What ended another process: its failure, LOST if it was killed, None if nothing is known."""
        lost = False
        for process, words in self._others:
            process.join(_GRACE_SECONDS)
            with contextlib.suppress(EOFError, OSError):
                if words.poll() and (failure := words.recv()) is not None:
                    return Failure.model_validate(failure)
            lost = lost or (process.exitcode or 0) < 0
        return LOST if lost else None

    def _start(self, directory: RunDirectory, resources: Resources, follow: Follow) -> None:
        import torch.distributed as dist

        from harness.executors.local import visible_gpus

        context = fork_server()
        devices = visible_gpus()[: resources.gpus]
        store = dist.TCPStore(_HERE, 0, resources.processes, is_master=True, timeout=_PATIENCE, wait_for_workers=False)
        for rank in range(1, resources.processes):
            words, theirs = context.Pipe(duplex=False)
            device = devices[rank] if devices else None
            process = context.Process(
                target=_follow, args=(follow, directory.path, resources, rank, store.port, device, theirs)
            )
            process.start()
            theirs.close()
            self._others.append((process, words))
        if devices:
            os.environ["CUDA_VISIBLE_DEVICES"] = devices[0]
        for rank, (other, _) in enumerate(self._others, start=1):
            while not store.check([_arrived(rank)]):
                if other.exitcode is not None:
                    raise PeerLost(f"process {rank} of this run ended before it could join (code {other.exitcode})")
                time.sleep(_LOOK_SECONDS)
        self.ranks = joined(0, resources, store)

    def _end(self) -> None:
        self.ranks = ALONE
        for process, words in self._others:
            process.join(_GRACE_SECONDS)
            process.kill()
            words.close()


@contextmanager
def team(directory: RunDirectory, resources: Resources, follow: Follow) -> Iterator[Team]:
    """The run's processes, all of them joined; gone at the end."""
    made = Team()
    try:
        if resources.processes > 1:
            made._start(directory, resources, follow)
        yield made
    finally:
        made._end()


def _follow(
    follow: Follow,
    path: Path,
    resources: Resources,
    rank: int,
    port: int,
    device: str | None,
    words: Connection,
) -> None:
    begin()
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    with tempfile.TemporaryDirectory(prefix="beyondrl-") as scratch:
        copy, own = RunDirectory(path), RunDirectory(Path(scratch) / path.name)
        own.path.mkdir()
        shutil.copy2(copy.spec, own.spec)
        if copy.events.exists():
            shutil.copy2(copy.events, own.events)
        if copy.checkpoint.exists():
            shutil.copytree(copy.checkpoint, own.checkpoint)
        store = store_at(port, resources)
        store.set(_arrived(rank), "")
        failure = follow(own, resources, joined(rank, resources, store))
        words.send(None if failure is None else failure.model_dump())


def _arrived(rank: int) -> str:
    """What a process says in the store when it is about to join."""
    return f"arrived {rank}"


def store_at(port: int, resources: Resources) -> Any:
    """The store of the first process, for another one."""
    import torch.distributed as dist

    return dist.TCPStore(_HERE, port, resources.processes, is_master=False, timeout=_PATIENCE)


def joined(rank: int, resources: Resources, store: Any) -> Ranks:
    """Meet the others. Objects go over gloo, gradients of GPUs over NCCL."""
    import torch.distributed as dist

    count = resources.processes
    objects = dist.ProcessGroupGloo(dist.PrefixStore("gloo", store), rank, count, _PATIENCE)
    nccl = dist.ProcessGroupNCCL(dist.PrefixStore("nccl", store), rank, count) if resources.gpus else None
    return Ranks(rank, count, objects, nccl or objects)
