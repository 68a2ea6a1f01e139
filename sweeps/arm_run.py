"""One arm on its way: its trials one after the other, then the winner once a final seed.

`advance` settles what has ended, decides what follows and returns the runs that may be submitted. It is called again
and again and never waits; everything it knows can be rebuilt from the study and the run directories.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from harness.record import Result
from harness.spec import Component, RunSpec
from harness.sweep_record import Arm as ArmRecord
from harness.sweep_record import Trial as TrialRecord
from sweeps.curve import CurveReader
from sweeps.jobs import Jobs
from sweeps.resolve import Arm, Sweep
from sweeps.study import Study, TrialView

Phase = Literal["tuning", "final", "done", "failed"]


@dataclass(frozen=True)
class Ended:
    """A run or trial that has just been settled, for whoever watches."""

    method: str
    what: str
    """`trial 2/4` or `seed 1`."""
    state: Literal["done", "pruned", "failed"]
    accuracy: float | None
    seconds: float | None
    why: str | None = None


class ArmRun:
    """The state of one arm."""

    def __init__(self, sweep: Sweep, arm: Arm, jobs: Jobs, study: Study | None, again: bool = True) -> None:
        """`again` gives failed trials of an earlier start a new chance: nobody else may be at work on the study."""
        self.arm = arm
        self.phase: Phase = "final" if study is None else "tuning"
        self.winner: Component | None = arm.component() if study is None else None
        self.best: float | None = None
        self.failure: str | None = None
        self.seconds: list[float] = []
        """What each finished run of this arm took."""
        self.changed = True
        """Whether anything was decided since the controller last wrote it down."""
        self._sweep, self._jobs, self._study = sweep, jobs, study
        self._specs: dict[str, list[RunSpec]] = {}
        self._finals: list[RunSpec] = []
        self._trial: TrialView | None = None
        self._trials: list[TrialView] = [] if study is None else study.trials()
        self._settled: set[str] = set()
        self._curves = CurveReader()
        self._ended: list[Ended] = []
        if study is not None and again:
            self._try_failed_again(study)

    @property
    def told(self) -> int:
        """Trials that have ended."""
        return sum(trial.state != "running" for trial in self._trials)

    @property
    def finals(self) -> list[RunSpec]:
        """The reported runs, once the winner is known."""
        if not self._finals and self.winner is not None:
            self._finals = self._sweep.final_specs(self.arm, self.winner)
        return self._finals

    @property
    def finals_done(self) -> int:
        return sum(spec.run_id in self._settled for spec in self.finals)

    @property
    def runs_left(self) -> int:
        """Runs that are still to be finished, the ones at work among them."""
        tuning = len(self._sweep.file.tune.seeds) * max(0, self.arm.trials - self.told)
        return tuning + len(self._sweep.file.final.seeds) - self.finals_done

    @property
    def busy(self) -> int:
        """Our processes at work for this arm."""
        return sum(self._jobs.ours(spec) for spec in [*self._specs_of(self._trial), *self.finals])

    def advance(self) -> list[RunSpec]:
        """Settle, decide, and return the runs that may be submitted now."""
        wanted = self._tune(self._study) if self.phase == "tuning" and self._study is not None else []
        return self._finish() if self.phase == "final" else wanted

    def take_ended(self) -> list[Ended]:
        """What was settled since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def record(self) -> ArmRecord:
        """This arm as `sweep.json` has it: one line a trial and tuning seed."""
        trials = [
            TrialRecord(
                number=trial.number,
                run_id=spec.run_id,
                parameters=trial.parameters,
                state=trial.state,
                value=trial.value,
            )
            for trial in self._trials
            for spec in self._specs_of(trial)
        ]
        return ArmRecord(
            method=self.arm.label,
            trials=trials,
            winner=None if self.winner is None else self.winner.parameters,
            final_run_ids=[spec.run_id for spec in self.finals],
        )

    def _specs_of(self, trial: TrialView | None) -> list[RunSpec]:
        """The runs of a trial, made once."""
        if trial is None:
            return []
        key = json.dumps(trial.parameters, sort_keys=True)
        if key not in self._specs:
            self._specs[key] = self._sweep.trial_specs(self.arm, trial.parameters)
        return self._specs[key]

    def _tune(self, study: Study) -> list[RunSpec]:
        while self.told < self.arm.trials:
            if self._trial is None:
                self._trial = study.ask(self.arm.trials)
                self._trials = study.trials()
                self.changed = True
                if self._trial is None:
                    continue
            ready = self._judge(study, self._trial)
            if ready is not None:
                return ready
            self._trial = None
            self.changed = True
            self._trials = study.trials()
            finished = [trial.value for trial in self._trials if trial.value is not None]
            self.best = max(finished, default=None)
        self._choose()
        return []

    def _judge(self, study: Study, trial: TrialView) -> list[RunSpec] | None:
        """None if the trial has ended, else those of its runs that may be submitted."""
        if study.has_ended(trial.number):
            return None
        specs = self._specs_of(trial)
        looks = [self._jobs.look(spec) for spec in specs]
        directories = [self._jobs.directory(spec) for spec in specs]
        last = self._sweep.tune_evaluation.curve_points - 1
        curve = self._curves.mean([directory.events for directory in directories])
        if study.should_prune(trial.number, curve, last):
            for spec, look in zip(specs, looks, strict=True):
                if look == "busy":
                    self._jobs.prune(spec)
            if "busy" in looks:
                return []
            self._end(study, trial, "pruned", None)
            return None
        if "failed" in looks:
            if "busy" in looks:
                return []
            self._end(study, trial, "failed", None, self._why(specs[looks.index("failed")]))
            return None
        if all(look == "done" for look in looks):
            results = [directory.read_result() for directory in directories]
            self._end(study, trial, "complete", results)
            return None
        return [spec for spec, look in zip(specs, looks, strict=True) if look in ("ready", "pruned")]

    def _end(
        self,
        study: Study,
        trial: TrialView,
        state: Literal["complete", "pruned", "failed"],
        results: list[Result] | None,
        why: str | None = None,
    ) -> None:
        value, seconds = None, None
        if results:
            value = sum(result.score.accuracy for result in results) / len(results)
            seconds = sum(result.meters.seconds for result in results)
            self.seconds += [result.meters.seconds for result in results]
        study.tell(trial.number, state, value)
        what = f"trial {self.told + 1}/{self.arm.trials}"
        self._ended.append(Ended(self.arm.label, what, "done" if state == "complete" else state, value, seconds, why))

    def _choose(self) -> None:
        """The trial with the best value on val; the earlier of two equals."""
        self.changed = True
        complete = [trial for trial in self._trials if trial.value is not None]
        if not complete:
            self.phase = "failed"
            self.failure = f"none of the {self.told} trials was finished"
            return
        best = max(complete, key=lambda trial: (trial.value, -trial.number))
        self.best = best.value
        self.winner = self.arm.component(best.parameters)
        self.phase = "final"

    def _finish(self) -> list[RunSpec]:
        ready, open_runs, failed = [], 0, 0
        for spec in self.finals:
            if spec.run_id in self._settled:
                continue
            look = self._jobs.look(spec)
            if look in ("ready", "pruned"):
                ready.append(spec)
            elif look == "busy":
                open_runs += 1
            elif look == "failed":
                failed += 1
                self._settle(spec, None)
            else:
                self._settle(spec, self._jobs.directory(spec).read_result())
        if not ready and not open_runs:
            self.phase = "failed" if failed else "done"
        return ready

    def _settle(self, spec: RunSpec, result: Result | None) -> None:
        if result is not None and spec.run_id not in self._settled:
            self._settled.add(spec.run_id)
            seconds = result.meters.seconds
            self.seconds.append(seconds)
            self._ended.append(Ended(self.arm.label, f"seed {spec.seed}", "done", result.score.accuracy, seconds))
        elif result is None and self.failure is None:
            self.failure = f"seed {spec.seed}: {self._why(spec)}"
            self._ended.append(Ended(self.arm.label, f"seed {spec.seed}", "failed", None, None, self._why(spec)))

    def _why(self, spec: RunSpec) -> str:
        directory = self._jobs.directory(spec)
        failure = directory.read_failure()
        return f"{failure.failure} in {failure.phase}: {failure.message.partition(chr(10))[0]} ({directory.path})"

    def _try_failed_again(self, study: Study) -> None:
        for trial in self._trials:
            if trial.state == "failed" and any(self._jobs.look(spec) == "ready" for spec in self._specs_of(trial)):
                study.retry(trial.number)
        self._trials = study.trials()
        self.best = max((trial.value for trial in self._trials if trial.value is not None), default=None)
