"""Rebuild the weights of any iteration of a search without gradients from its start and `replay.jsonl`.

Every update is made again by the optimiser itself from the recorded coefficients and the run's noise, and checked
against the recorded fingerprint: the result is bit for bit the run's own, or refused.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contracts import ReplayableOptimiser, Train
from harness.errors import UserError
from harness.record import RunDirectory
from harness.streams import stream


@dataclass(frozen=True)
class Replayed:
    """Where the weights lie, how many iterations they have, and whether the log ends in the middle of a line."""

    path: Path
    iterations: int
    torn: bool


def replay(run_directory: Path, out: Path, iterations: int | None = None) -> Replayed:
    """Write the model after the first `iterations` (all that were recorded, if None) to `out`.

    Raises UserError if there is no log, it is too short, the start model is another, or an update comes out otherwise.
    """
    from harness.replay_log import fingerprint, read_replay_log

    directory = RunDirectory(run_directory)
    log = read_replay_log(directory.replay)
    if not log.records:
        raise UserError(f"The run {run_directory} has recorded no iteration: only searches without gradients do.")
    if log.records[0]["stage"] != 0:
        raise UserError("This log begins after another stage, whose weights are not kept: run it again.")
    wanted = len(log.records) if iterations is None else iterations
    if not 0 <= wanted <= len(log.records):
        raise UserError(f"The run {run_directory} has {len(log.records)} recorded iterations, not {wanted}.")
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty: choose another --out.")
    policy, optimiser, seed = _prepare(directory)
    _check(0, log.records[0]["before"], fingerprint(policy.tensors()))
    for iteration, found in optimiser.replay(policy, seed, log.records[:wanted]):
        _check(iteration + 1, log.records[iteration]["after"], found)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        policy.save(temporary)
        shutil.rmtree(out, ignore_errors=True)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Replayed(out, wanted, log.torn)


def _prepare(directory: RunDirectory) -> tuple[Any, ReplayableOptimiser, int]:
    """The policy that the run started from, its optimiser, and the seed of its perturbations."""
    import torch

    from harness.models import load_model
    from harness.policy import Policy
    from harness.registry import find_method

    spec = directory.read_spec()
    entry = find_method(spec.method.name)
    if entry.version != spec.method.version:
        raise UserError(
            f"The run used version {spec.method.version} of {entry.name!r}, installed is version {entry.version}."
        )
    stage = entry.create(**spec.method.parameters).stages[0]
    if not isinstance(stage, Train) or not isinstance(stage.optimiser, ReplayableOptimiser):
        raise UserError(f"The method {entry.name!r} cannot be replayed: its optimiser makes no update from a log.")
    handle = load_model(spec.model.name)
    if handle.revision != spec.model.revision:
        raise UserError(
            f"The run started from revision {spec.model.revision} of {handle.name!r}, there is {handle.revision}."
        )
    if directory.environment.exists():
        torch.set_num_threads(int(json.loads(directory.environment.read_text()).get("threads") or 1))
    policy = Policy(handle.model().eval(), handle.tokenizer(), handle.path)
    policy = stage.parameterisation.attach(policy, stream(spec.seed, "stage-0", "init") % 2**31)
    return policy, stage.optimiser, stream(spec.seed, "stage-0", "perturbation")


def _check(iteration: int, recorded: str, found: str) -> None:
    if recorded != found:
        raise UserError(
            f"After {iteration} iterations the weights are {found}, the log says {recorded}: "
            "the log was changed, or this machine rounds differently from the one that wrote it."
        )
