"""The controller of a sweep: fills the executor's slots with what its arms want next, until nothing is left to do.

One controller a sweep, by a lease on its directory; several where their study is a database that they share: then each
run goes to whoever takes its lease first. It can be killed at any moment: studies and run directories hold everything,
and a new start goes on from them and repeats nothing that is finished. Each study goes on one trial at a time,
different studies side by side; tuning goes before final runs, because its trials wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.contracts import Executor, Resources
from harness.record import RunDirectory
from harness.spec import Component, RunSpec
from harness.sweep_record import SweepRecord
from sweeps.arm_run import ArmRun
from sweeps.directory import SweepDirectory
from sweeps.jobs import Jobs
from sweeps.progress import Progress
from sweeps.resolve import Arm, Sweep
from sweeps.storage import is_shared, open_storage
from sweeps.study import Study

_LOOK_SECONDS = 0.5
"""How long nothing is looked at while no run ends."""


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended."""

    record: SweepRecord
    processes: int
    """Worker processes that were started; 0 when everything was there already."""
    failures: dict[str, str]
    """Arm -> why it has no complete set of final runs."""
    set_aside: str | None
    """The name under which an earlier sweep of this name is kept now."""


class Controller:
    """Runs a resolved sweep to its end."""

    def __init__(self, sweep: Sweep, runs: Path, executor: Executor, resources: Resources, commands: list[str]) -> None:
        self.sweep = sweep
        self.runs = runs
        self.commands = commands
        self.directory = SweepDirectory.of(runs, sweep.name)
        self._jobs = Jobs(runs, executor, resources)
        self._executor = executor
        self._shared = is_shared(sweep.file.storage)

    @property
    def processes(self) -> int:
        """How many were started so far."""
        return self._jobs.submitted

    def run(self, progress: Progress, begun: Callable[[], None] | None = None) -> Outcome:
        """Do what is left to do. KeyboardInterrupt cancels what runs and goes on to the caller.

        `begun` is called once the sweep's directory is there and its first runs are at work.
        """
        set_aside = self.directory.set_aside(self.sweep.identity)
        self.directory.bring_back(self.sweep.identity)
        with self.directory.joined() if self._shared else self.directory.held():
            record = self.directory.read()
            if record is not None and self._complete(record):
                return Outcome(record, 0, {}, set_aside)
            self.directory.start(self.sweep.source)
            try:
                arms = self._work(progress, begun)
            finally:
                self._executor.close()
        failures = {arm.arm.label: arm.failure for arm in arms if arm.failure is not None}
        return Outcome(self._record(arms, True), self._jobs.submitted, failures, set_aside)

    def _work(self, progress: Progress, begun: Callable[[], None] | None) -> list[ArmRun]:
        arms = self._arms()
        self._write(arms, finished=False)
        self._submit([(arm, arm.advance()) for arm in arms])
        if begun is not None:
            begun()
        with progress:
            while True:
                wanted = [(arm, arm.advance()) for arm in arms]
                ended = [one for arm in arms for one in arm.take_ended()]
                self._submit(wanted)
                for one in ended:
                    progress.ended(one)
                progress.show(arms)
                self._write(arms, finished=False)
                if all(arm.phase in ("done", "failed") for arm in arms):
                    break
                self._executor.wait(_LOOK_SECONDS)
        self._write(arms, finished=True)
        return arms

    def _arms(self) -> list[ArmRun]:
        storage = None
        if any(arm.trials for arm in self.sweep.arms):
            storage = open_storage(self.directory.path, self.sweep.file.storage)
        arms, again = [], len(self.directory.controllers()) < 2
        for arm in self.sweep.arms:
            study = None
            if arm.trials and storage is not None:
                identity = self.sweep.tuning_identity(arm)
                name = f"{self.sweep.name}.{arm.label}.{identity}"
                study = Study(storage, name, identity, arm.tunable, self.sweep.file.tune)
            arms.append(ArmRun(self.sweep, arm, self._jobs, study, again))
        return arms

    def _submit(self, wanted: list[tuple[ArmRun, list[RunSpec]]]) -> None:
        """Fill the free slots: arms that tune first, then those with fewest runs at work."""
        while self._jobs.free > 0:
            open_arms = [(arm, specs) for arm, specs in wanted if specs]
            if not open_arms:
                return
            next_arm = min(open_arms, key=lambda one: (one[0].phase != "tuning", one[0].busy))
            spec = next_arm[1].pop(0)
            if not self._jobs.ours(spec):
                self._jobs.submit(spec)

    def _write(self, arms: list[ArmRun], finished: bool) -> None:
        if finished or (any(arm.changed for arm in arms) and not self._finished_elsewhere()):
            self.directory.write(self._record(arms, finished))
            for arm in arms:
                arm.changed = False

    def _finished_elsewhere(self) -> bool:
        """Whether another controller has written down the end, which has only to be caught up with here."""
        there = self.directory.read() if self._shared else None
        return there is not None and there.finished and there.identity == self.sweep.identity

    def _record(self, arms: list[ArmRun], finished: bool) -> SweepRecord:
        file = self.sweep.file
        return SweepRecord(
            name=file.name,
            identity=self.sweep.identity,
            task=self.sweep.task,
            model=self.sweep.model,
            budget=file.budget,
            tune_trials=file.tune.trials,
            tune_seeds=file.tune.seeds,
            final_seeds=file.final.seeds,
            tune_evaluation=self.sweep.tune_evaluation,
            final_evaluation=self.sweep.final_evaluation,
            arms=[arm.record() for arm in arms],
            refused=list(self.sweep.refused),
            commands=self.commands,
            source=self.sweep.source,
            finished=finished,
        )

    def _complete(self, record: SweepRecord) -> bool:
        """Whether every final run of a finished record is there."""
        if not record.finished or record.identity != self.sweep.identity:
            return False
        winners = [(arm, self._winner(arm, record)) for arm in self.sweep.arms]
        return all(
            method is not None
            and all(RunDirectory.of(self.runs, spec).result.exists() for spec in self.sweep.final_specs(arm, method))
            for arm, method in winners
        )

    @staticmethod
    def _winner(arm: Arm, record: SweepRecord) -> Component | None:
        winner = next((one.winner for one in record.arms if one.method == arm.label), None)
        return None if winner is None else arm.entry.resolve(winner)
