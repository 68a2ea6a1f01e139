"""Runs as jobs of a Slurm cluster, through submitit: one job a run.

The controller runs where sbatch does; every node needs this installation and sees the runs directory under the same
path. Slurm and submitit requeue nothing by themselves: a job that was lost, preempted or out of time comes back as
LOST, and the controller submits the same run again, which goes on from its checkpoint and counts that in its record.
"""

from __future__ import annotations

import importlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts import LOST, Handle, Resources
from harness.errors import UserError
from harness.executors.local import Work
from harness.executors.node import run_on_node

if TYPE_CHECKING:
    from harness.executors.choice import SlurmChoice

_SLOTS = 32
_POLL_SECONDS = 1.0
"""How often a job is looked after: its result lies on the shared folder."""


class SlurmExecutor:
    """`slots` jobs in Slurm's queue or at work at a time.

    `folder` takes submitit's files. `cluster` None is Slurm; "local" runs the same jobs as processes of this machine.
    UserError without submitit, without Slurm, or for options that it does not take.
    """

    name = "slurm"

    def __init__(
        self,
        folder: Path,
        choice: SlurmChoice,
        resources: Resources | None = None,
        slots: int | None = None,
        work: Work | None = None,
        cluster: str | None = None,
    ) -> None:
        if slots is not None and slots < 1:
            raise UserError(f"slots={slots} is not possible: at least one run must be able to go on (--slots 1).")
        self.resources = resources or Resources()
        self.slots = slots or _SLOTS
        self.lag_seconds = 0.0 if cluster == "local" else 30.0
        self._work = work
        self._running: list[SlurmHandle] = []
        self._submitit = _submitit(folder, choice, self.resources, cluster)

    def prepare(self) -> None:
        """Nothing: the cluster's nodes begin with their first run."""

    def submit(self, run_directory: Path, resources: Resources | None = None) -> SlurmHandle:
        """Hand a run's job to Slurm."""
        job = _Job(str(run_directory.absolute()), resources or self.resources, self._work, os.getcwd())
        self._submitit.update_parameters(name=run_directory.name)
        handle = SlurmHandle(self._submitit.submit(job), self.lag_seconds)
        self._running = [*(one for one in self._running if one.poll() is None), handle]
        return handle

    def wait(self, seconds: float) -> None:
        """`seconds`: Slurm tells nobody that a job has ended."""
        time.sleep(seconds)

    def close(self) -> None:
        """Cancel whatever still runs or waits."""
        for handle in self._running:
            if handle.poll() is None:
                handle.cancel()
        self._running = []


@dataclass(frozen=True)
class _Job:
    """What submitit pickles."""

    run_directory: str
    resources: Resources
    work: Work | None
    folder: str

    def __call__(self) -> int | str:
        return run_on_node(self.run_directory, self.resources, self.work, self.folder)

    def checkpoint(self) -> None:
        """Nothing to requeue: a job that is preempted or out of time ends, and the controller decides."""


class SlurmHandle(Handle):
    """One run's job."""

    def __init__(self, job: Any, lag_seconds: float) -> None:
        self._job = job
        self._lag_seconds = lag_seconds
        self._code: int | None = None
        self._looked: float | None = None
        self._over: float | None = None

    def poll(self) -> int | None:
        """None while it runs or waits in the queue; UserError when its node cannot run anything of this sweep."""
        now = time.monotonic()
        if self._code is None and (self._looked is None or now - self._looked >= min(_POLL_SECONDS, self._lag_seconds)):
            self._looked = now
            self._code = self._outcome(now)
        return self._code

    def cancel(self) -> None:
        """Ask Slurm to end the job; the run can be taken up again later."""
        self._job.cancel(check=False)

    def _outcome(self, now: float) -> int | None:
        if not self._job.paths.result_pickle.exists():
            if not self._job.done():
                return None
            self._over = now if self._over is None else self._over
            if now - self._over < self._lag_seconds:
                return None
            return -signal.SIGKILL if self._job.state.startswith("OUT_OF_ME") else LOST
        error = self._job.exception()
        if error is not None:  # preempted or out of time, or what submitit itself failed in
            return LOST
        outcome = self._job.result()
        if isinstance(outcome, str):
            raise UserError(outcome)
        return int(outcome)


def _submitit(folder: Path, choice: SlurmChoice, resources: Resources, cluster: str | None) -> Any:
    """submitit's executor with every option set."""
    try:
        submitit = importlib.import_module("submitit")
    except ImportError:
        raise UserError("submitit is not installed: pip install 'beyondrl[slurm]', here and on every node.") from None
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster or "slurm", slurm_max_num_timeout=0)
    except RuntimeError:
        raise UserError("Slurm is not here: sbatch and srun are not on the PATH (--executor local or ray).") from None
    given = {
        "slurm_partition": choice.partition,
        "slurm_account": choice.account,
        "slurm_qos": choice.qos,
        "slurm_gres": choice.gres,
        "slurm_additional_parameters": choice.more or None,
        "mem_gb": choice.memory_gb,
        "gpus_per_node": resources.gpus if resources.gpus and choice.gres is None else None,
    }
    executor.update_parameters(
        timeout_min=choice.minutes,
        cpus_per_task=resources.threads * resources.devices,
        **{name: value for name, value in given.items() if value is not None},
    )
    return executor
