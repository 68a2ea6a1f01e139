"""What executes runs, and what each of them may use of a machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Resources:
    """What one run may use of a machine."""

    threads: int = 1
    """Of each of its processes."""
    gpus: int = 0
    """All of them together."""
    processes: int = 1
    """That do the run together (`harness.ranks`); with GPUs, one a GPU."""
    zero_stage: int = 0
    """1 spreads the optimiser's state over them (`harness.sharded_state`), 2 the gradients too
    (`harness.sharded_gradients`); 0 leaves both whole in each."""
    tensor_parallel: int = 1
    """Devices over which vLLM spreads the model of a run that one process does: its GPUs, else so many processes."""

    @property
    def devices(self) -> int:
        """GPUs, or processes that want a core: a run's seconds count once for each of them."""
        return self.processes * self.tensor_parallel


@runtime_checkable
class Handle(Protocol):
    """A submitted run."""

    def poll(self) -> int | None:
        """None while it runs, else its exit code: negative for the signal that killed it, LOST if nobody knows."""
        ...

    def cancel(self) -> None: ...


LOST = 255
"""Exit code of a run whose machine, or whatever it was started by, went down with it."""


@runtime_checkable
class Executor(Protocol):
    """Where runs execute. The controller submits run directories and polls; truth is in the directories."""

    name: str
    resources: Resources
    """What each run gets."""
    lag_seconds: float
    """How long a file that a run has written may take to be seen here."""

    @property
    def slots(self) -> int:
        """How many runs may be submitted at a time; it may change as machines come and go."""
        ...

    def prepare(self) -> None:
        """Begin, beside whatever the controller has still to do, what the first run would have to wait for."""
        ...

    def submit(self, run_directory: Path, resources: Resources) -> Handle: ...

    def wait(self, seconds: float) -> None:
        """Wait until a run may have ended, `seconds` at most."""
        ...

    def close(self) -> None: ...
