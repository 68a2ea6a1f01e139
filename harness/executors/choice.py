"""Where the runs of a sweep execute and what each of them gets, as a sweep file or a command line says it.

No part of a run's identity: the same run has the same result wherever it was done. What a machine or a cluster does not
have is refused here, before anything runs. Loads neither Ray nor submitit until one of them is chosen.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from harness.contracts import Resources
from harness.errors import UserError, unknown
from harness.frozen import Frozen

if TYPE_CHECKING:
    from harness.executors.local import LocalExecutor
    from harness.executors.ray import RayExecutor
    from harness.executors.slurm import SlurmExecutor


class RunResources(Frozen):
    """What each run gets; what is left out follows from the machine."""

    threads: int | None = Field(None, ge=1)
    """Processor threads of a process; on this machine the cores divided by all processes, on a cluster 1."""
    gpus: int | None = Field(None, ge=0)
    """GPUs; on this machine one a process (or as many as `tensor_parallel`) where there are some, on a cluster 0."""
    processes: int | None = Field(None, ge=1)
    """Processes that do the run together, each with the whole model: one a GPU, else 1."""
    tensor_parallel: int = Field(1, ge=1)
    """GPUs, or processes without any, over which vLLM spreads the one copy that it answers with; the run's one process
    trains on the first."""
    zero_stage: int = Field(0, ge=0, le=3)
    """1 spreads the optimiser's state over the processes of a run (ZeRO), 2 the gradients too; 3 is refused."""
    fsdp: Any = None
    deepspeed: Any = None
    """What accelerate takes to spread a model over GPUs: always refused."""

    def checked(self, engine: str) -> RunResources:
        """Itself; UserError for what a run that `engine` answers for cannot use, on any machine."""
        if self.tensor_parallel > 1:
            self._check_tensor_parallel(engine)
        elif self.gpus and self.processes is not None and self.processes != self.gpus:
            raise UserError(
                f"processes: {self.processes} with gpus: {self.gpus} is refused: each process of a run has one GPU "
                f"(processes: {self.gpus}, or leave it out)."
            )
        if self.zero_stage and self.together == 1:
            raise UserError(
                f"zero_stage: {self.zero_stage} is refused: one process does each run, so there is nobody to spread "
                "anything over (gpus: 2, or processes: 2 without GPUs)."
            )
        sharding = next((name for name in ("fsdp", "deepspeed") if getattr(self, name) is not None), None)
        if sharding is not None or self.zero_stage > 2:
            asked = sharding or f"zero_stage: {self.zero_stage}"
            raise UserError(
                f"{asked} is refused: weights are whole in every process of a run, which answers with them between "
                "updates; zero_stage: 2 spreads optimiser's state and gradients over its processes (as DeepSpeed's "
                "stage 2 and FSDP's shard_grad_op do), and what does not fit a GPU so needs a 4-bit base (qlora), an "
                "adapter, accumulation or gradient_checkpointing (beyondrl plan FILE says which)."
            )
        return self

    @property
    def together(self) -> int:
        """How many processes do a run."""
        return self.processes or (1 if self.tensor_parallel > 1 else self.gpus) or 1

    def _check_tensor_parallel(self, engine: str) -> None:
        asked = f"tensor_parallel: {self.tensor_parallel}"
        if engine != "vllm":
            raise UserError(
                f"{asked} is refused: it is vLLM's, and the engine {engine} answers (evaluation: {{engine: vllm}}, or "
                "leave it out)."
            )
        if self.together > 1:
            raise UserError(
                f"processes: {self.processes} with {asked} is refused: each process of a run has one GPU and a vLLM "
                "of its own there (leave one of them out)."
            )
        if self.gpus and self.gpus != self.tensor_parallel:
            raise UserError(
                f"gpus: {self.gpus} with {asked} is refused: vLLM has all GPUs of the run, the first of which trains "
                f"(gpus: {self.tensor_parallel}, or leave it out)."
            )


class LocalChoice(Frozen):
    """This machine."""

    name: Literal["local"] = "local"

    def open(self, wanted: RunResources, slots: int | None, runs: Path) -> LocalExecutor:
        from harness.executors.local import LocalExecutor, visible_gpus

        cores, gpus = len(os.sched_getaffinity(0)), len(visible_gpus())
        if wanted.threads is not None and wanted.threads > cores:
            raise UserError(f"threads: {wanted.threads} is refused: this machine gives {cores} cores to its processes.")
        if wanted.gpus is not None and wanted.gpus > gpus:
            there = f"{gpus} that are visible" if gpus else "no GPU that is visible"
            raise UserError(f"gpus: {wanted.gpus} is refused: this machine has {there} here.")
        room = gpus if gpus and wanted.gpus != 0 else cores
        if max(wanted.together, wanted.tensor_parallel) > room:
            asked = f"tensor_parallel: {wanted.tensor_parallel}" if wanted.together == 1 else ""
            unit = "GPUs" if room == gpus else "cores"
            raise UserError(
                f"{asked or f'processes: {wanted.together}'} is refused: each has one of this machine's {room} {unit}."
            )
        return LocalExecutor(
            slots,
            threads=wanted.threads,
            gpus=wanted.gpus,
            processes=wanted.together,
            zero_stage=wanted.zero_stage,
            tensor_parallel=wanted.tensor_parallel,
        )


class RayChoice(Frozen):
    """A Ray cluster."""

    name: Literal["ray"] = "ray"
    address: str = "auto"
    """HOST:PORT of its head, or auto on one of its nodes."""

    def open(self, wanted: RunResources, slots: int | None, runs: Path) -> RayExecutor:
        from harness.executors.ray import RayExecutor

        return RayExecutor(self.address, _on_cluster(wanted), slots)


class SlurmChoice(Frozen):
    """A Slurm cluster, by sbatch from here."""

    name: Literal["slurm"] = "slurm"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    gres: str | None = None
    """In place of `gpus`, where a site wants its GPUs asked for by kind."""
    minutes: int = Field(60, ge=1)
    """Time limit of a run's job; a run that reaches it goes on in another job."""
    memory_gb: float | None = Field(None, gt=0)
    more: dict[str, Any] = Field(default_factory=dict)
    """Any other options of sbatch, without their dashes."""

    def open(self, wanted: RunResources, slots: int | None, runs: Path) -> SlurmExecutor:
        from harness.executors.slurm import SlurmExecutor

        return SlurmExecutor(runs / "slurm", self, _on_cluster(wanted), slots)


ExecutorChoice = Annotated[LocalChoice | RayChoice | SlurmChoice, Field(discriminator="name")]
CHOICES: dict[str, type[LocalChoice] | type[RayChoice] | type[SlurmChoice]] = {
    "local": LocalChoice,
    "ray": RayChoice,
    "slurm": SlurmChoice,
}


def executor_choice(given: Any) -> Any:
    """`ray` in a sweep file is {name: ray}; ValueError for what names no executor."""
    if isinstance(given, str):
        given = {"name": given}
    if isinstance(given, dict) and given.get("name") not in CHOICES:
        raise ValueError(f"an executor is one of {', '.join(CHOICES)}, or {{name: ray, ...}}")
    return given


def overruled(choice: ExecutorChoice, name: str | None, address: str | None) -> ExecutorChoice:
    """The choice of a sweep file after the command line's `--executor` and `--ray-address`."""
    if name is not None and name not in CHOICES:
        raise unknown("executor", name, CHOICES)
    if name is not None and name != choice.name:
        choice = CHOICES[name]()
    if address is None:
        return choice
    if not isinstance(choice, RayChoice):
        raise UserError(f"--ray-address goes with --executor ray; the runs of this sweep go to {choice.name}.")
    return RayChoice(address=address)


def _on_cluster(wanted: RunResources) -> Resources:
    return Resources(
        threads=wanted.threads or 1,
        gpus=wanted.gpus or 0,
        processes=wanted.together,
        zero_stage=wanted.zero_stage,
        tensor_parallel=wanted.tensor_parallel,
    )
