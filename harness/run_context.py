"""What all stages of one run share: its spec, directory, task, meters, events, and the checkpoints it goes on from.

Everything that decides the result follows from the spec and the state in the checkpoint, so that a resumed run
continues exactly. What one stage sees of this is in `harness.context`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.atomic import write_json
from harness.contracts import Task
from harness.control import Controlled
from harness.evaluate import evaluate
from harness.events import EventLog
from harness.meters import MeterBank
from harness.models import BASE
from harness.policy import Policy
from harness.ranks import ALONE, Ranks
from harness.record import Meters, RunDirectory, Score
from harness.spec import RunSpec
from harness.streams import stream

STATE = "state.json"
"""What makes a folder a whole checkpoint; written last."""
_START = "start"


@dataclass
class RunContext:
    """What all stages of one run share."""

    spec: RunSpec
    directory: RunDirectory
    task: Task
    meters: MeterBank
    events: EventLog
    checkpoint_seconds: float = 60.0
    """Wall-clock seconds between checkpoints; it has no influence on the result."""
    ranks: Ranks = ALONE
    """The processes that do this run together."""
    zero_stage: int = 0
    """1 where they share out the optimiser's state, 2 where the gradients too (ZeRO's stages)."""
    curve_done: int = -1
    """The last point of the learning curve that was drawn; point 0 is the start policy."""

    def seed(self, *names: str | int) -> int:
        """The seed of a named random stream of this run."""
        return stream(self.spec.seed, *names)

    @cached_property
    def training_task(self) -> Task:
        """The task as methods see it: the run's own, or that under a negative control."""
        return self.controlled(self.task)

    def controlled(self, task: Task) -> Task:
        """`task`, or where the run is a negative control, `task` under that."""
        control = self.spec.control
        return task if control is None else Controlled(task, control, self.seed("control"))

    def score(self, policy: Policy) -> Score:
        """The policy on val, on the items of the learning curve and as little charged as that."""
        with self.meters.clock("evaluate"):
            items = self.spec.evaluation.curve_items
            return evaluate(self.spec, self.task, policy, "val", items, few_shot=0, ranks=self.ranks)[0]

    def spent(self) -> Meters:
        """The meters now, for decisions: the first process's, since clocks differ."""
        return self.ranks.first(self.meters.read())

    def state(self, stage: int, step: int) -> dict[str, Any]:
        """What a checkpoint must remember besides weights."""
        meters: Meters = self.meters.read()
        return {
            "stage": stage,
            "step": step,
            "curve_done": self.curve_done,
            "events": self.events.count(),
            "meters": meters.model_dump(),
        }

    def save_final(self, policy: Policy, folder: Path) -> None:
        """Write the final model into `folder`, which becomes the run's `model`; an adapter with its base, as needed."""
        if policy.kind == "adapter" and self._has_own_base(policy):
            policy.model.active_peft_config.base_model_name_or_path = str(self.directory.model.resolve() / BASE)
        self._save(policy, folder)

    def _save(self, policy: Policy, folder: Path) -> None:
        """Write the policy as it is, with its base, as needed."""
        if policy.kind == "generator":
            policy.model.made_for = self.spec.model
        policy.save(folder)
        self._save_base(policy, folder)

    def _has_own_base(self, policy: Policy) -> bool:
        """Whether the policy is an adapter, or a generator, on weights that earlier stages of this run have moved."""
        return policy.kind != "full" and policy.start.is_relative_to(self.directory.checkpoint)

    def _save_base(self, policy: Policy, folder: Path) -> None:
        if self._has_own_base(policy):
            shutil.copytree(policy.start, folder / BASE, ignore=shutil.ignore_patterns(STATE))

    def hand_over(self, stage: int, policy: Policy, results: list[dict[str, Any]], keep: bool = False) -> Path:
        """Save what stage `stage` starts from, adapters merged unless `keep`; returns the directory of its weights.

        A kept adapter, or a generator, lies beside its base, where that is not the run's own model.
        """
        folder = self.directory.checkpoint / f"stage-{stage}" / _START
        shutil.rmtree(folder, ignore_errors=True)
        if keep:
            self._save(policy, folder)
            if policy.moments is not None:
                policy.moments.save(folder)
        else:
            policy.save_merged(folder)
        write_json(folder / STATE, self.state(stage, 0) | {"results": results})
        for other in self.directory.checkpoint.glob("stage-*"):
            if other != folder.parent:
                shutil.rmtree(other)
        return folder


def newest_checkpoint(directory: RunDirectory) -> tuple[Path, dict[str, Any]] | None:
    """The newest whole checkpoint of a run and its state, or None."""
    found = []
    for file in directory.checkpoint.glob(f"stage-*/*/{STATE}"):
        state = json.loads(file.read_text())
        found.append((state["stage"], state["step"], file.parent, state))
    if not found:
        return None
    _, _, folder, state = max(found, key=lambda entry: entry[:2])
    return folder, state


def stage_start(directory: RunDirectory, stage: int) -> tuple[Path, dict[str, Any]] | None:
    """Where the weights lie that `stage` started from and what the stages before it left; None for the first."""
    folder = directory.checkpoint / f"stage-{stage}" / _START
    if stage == 0:
        return None
    return folder, json.loads((folder / STATE).read_text())
