"""What a node of a cluster does with a run: the local executor's one process, watched by whoever the cluster started.

Both cluster executors send `run_on_node` away. The run ends with its watcher, whatever happened to that: a worker or a
node that is killed takes the run along within seconds, and the controller decides whether it is taken up again.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from harness.contracts import Resources
from harness.executors.local import LocalExecutor, Work
from harness.lease import give_back
from harness.record import RunDirectory

_APPEARS_SECONDS = 20.0
"""How long a directory that was just made elsewhere may take to be seen on a shared folder."""
_LOOK_SECONDS = 0.05


def run_on_node(run_directory: str, resources: Resources, work: Work | None, folder: str) -> int | str:
    """Do the run here, with `folder` as the working directory where it exists; returns its exit code.

    A node on which no run of this sweep could go on returns the sentence that says why.
    """
    directory = RunDirectory(Path(run_directory))
    deadline = time.monotonic() + _APPEARS_SECONDS
    while not directory.spec.exists():
        if time.monotonic() > deadline:
            return (
                f"The node {socket.gethostname()} cannot see {directory.path}: the runs directory must lie on a "
                "folder that every node has under the same path (--runs DIR)."
            )
        time.sleep(_LOOK_SECONDS)
    if os.path.isdir(folder):
        os.chdir(folder)  # a task's own files may be given by relative paths
    executor = LocalExecutor(1, work)
    try:
        handle = executor.submit(directory.path, resources)
        while (code := handle.poll()) is None:
            time.sleep(_LOOK_SECONDS)
        return code
    finally:
        executor.close()
        if directory.lease.exists():
            give_back(directory.lease)
