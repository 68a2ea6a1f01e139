"""The study of one arm: which parameters to try next, which trial to stop, which one won.

Every answer follows from the trials told so far: the sampler is made afresh for each trial from the tuning identity and
the trial's position, and a trial is pruned when its curve says so even if its run was faster than the pruner. So a
study that was killed at any moment, or whose journal is lost while its runs are there, goes on to the same trials.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.streams import stream
from sweeps.file import Tuning
from sweeps.space import search_space
from sweeps.storage import alone

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

    from harness.parameters import Parameter

TrialState = Literal["running", "complete", "pruned", "failed"]
_TORN = "torn"
"""Marks a trial that was cut off while its parameters were drawn: it never was."""
_RETRY_OF = "retry_of"
"""Marks a trial that stands for a failed one."""


@dataclass(frozen=True)
class TrialView:
    """A trial as the sweep sees it."""

    number: int
    parameters: dict[str, Any]
    state: TrialState
    value: float | None


class Study:
    """Optuna's ask and tell for one arm, one trial at a time."""

    def __init__(
        self, storage: BaseStorage, name: str, identity: str, parameters: dict[str, Parameter], tune: Tuning
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.name = name
        self._identity = identity
        self._space = search_space(parameters)
        self._defaults = {key: parameter.default for key, parameter in parameters.items()}
        self._tune = tune
        self._storage = storage
        with alone(storage, name):
            self._study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", pruner=_pruner(tune), load_if_exists=True
            )
        self._study_id = storage.get_study_id_from_name(name)

    def trials(self) -> list[TrialView]:
        """The trials that count, in order: not the torn ones, and not those that were tried again."""
        return [_view(trial) for trial in self._counting()]

    def ask(self, most: int | None = None) -> TrialView | None:
        """The trial that is running, or else the next one; the first of all is the defaults.

        None when `most` trials have ended, as another controller may have seen to.
        """
        with alone(self._storage, self.name):
            return self._ask(most)

    def _ask(self, most: int | None) -> TrialView | None:
        self._drop_torn()
        running = next((trial for trial in self.trials() if trial.state == "running"), None)
        if running is not None:
            return running
        position = len(self._counting())
        if position == most:
            return None
        waiting = any(_state(trial) == "waiting" for trial in self._study.get_trials(deepcopy=False))
        if position == 0 and not waiting:
            self._study.enqueue_trial(self._defaults)
        seed = stream(self._tune.sampler.seed, self._identity, position) % 2**32
        self._study.sampler = _sampler(self._tune, seed)
        asked = self._study.ask(fixed_distributions=dict(self._space))
        return TrialView(asked.number, dict(asked.params), "running", None)

    def has_ended(self, number: int) -> bool:
        """Whether a trial was told, by whichever controller."""
        return _state(self._trial(number)) != "running"

    def should_prune(self, number: int, curve: Mapping[int, float], last: int) -> bool:
        """Report the points of a curve that are new, in order; True at the first where the pruner would stop.

        The point `last` is the end of the budget: there is nothing left to save, so nothing is stopped there.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        for point in sorted(curve):
            if point not in self._trial(number).intermediate_values:
                try:
                    self._storage.set_trial_intermediate_value(self._id(number), point, curve[point])
                except UpdateFinishedTrialError:  # another controller has just told it
                    return False
            trial = copy.copy(self._trial(number))
            values = trial.intermediate_values
            trial.intermediate_values = {step: values[step] for step in values if step <= point}
            if point < last and self._study.pruner.prune(self._study, trial):
                return True
        return False

    def tell(self, number: int, state: TrialState, value: float | None = None) -> None:
        """End a trial that has not ended: `complete` with its value on val, `pruned` or `failed` without one."""
        from optuna.trial import TrialState as Told

        told = {"complete": Told.COMPLETE, "pruned": Told.PRUNED, "failed": Told.FAIL}
        with alone(self._storage, self.name):
            if not self.has_ended(number):
                self._study.tell(number, value, state=told[state])

    def retry(self, number: int) -> None:
        """Put the parameters of a failed trial up as the next one; the failed one no longer counts."""
        self._study.enqueue_trial(self._trial(number).params, user_attrs={_RETRY_OF: number})

    def _counting(self) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=False)
        retried = {trial.user_attrs[_RETRY_OF] for trial in trials if _RETRY_OF in trial.user_attrs}
        return [
            trial
            for trial in trials
            if _state(trial) != "waiting" and trial.number not in retried and _TORN not in trial.user_attrs
        ]

    def _drop_torn(self) -> None:
        """A controller killed between the draws of a trial leaves it without some of its parameters."""
        from optuna.trial import TrialState as Told

        for trial in self._study.get_trials(deepcopy=False, states=(Told.RUNNING,)):
            if set(trial.params) != set(self._space):
                self._storage.set_trial_user_attr(self._id(trial.number), _TORN, True)
                self._study.tell(trial.number, state=Told.FAIL)

    def _trial(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._id(number))

    def _id(self, number: int) -> int:
        identity: int = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        return identity


def _view(trial: FrozenTrial) -> TrialView:
    state = _state(trial)
    assert state != "waiting"
    return TrialView(trial.number, dict(trial.params), state, trial.value if state == "complete" else None)


def _state(trial: FrozenTrial) -> Literal["waiting", "running", "complete", "pruned", "failed"]:
    names: dict[str, Literal["waiting", "running", "complete", "pruned", "failed"]] = {
        "WAITING": "waiting",
        "RUNNING": "running",
        "COMPLETE": "complete",
        "PRUNED": "pruned",
        "FAIL": "failed",
    }
    return names[trial.state.name]


def _sampler(tune: Tuning, seed: int) -> BaseSampler:
    """Pinned by name and by every option whose default has moved between releases of Optuna."""
    from optuna.samplers import RandomSampler, TPESampler

    if tune.sampler.name == "random":
        return RandomSampler(seed=seed)
    return TPESampler(
        n_startup_trials=tune.sampler.startup,
        n_ei_candidates=24,
        multivariate=True,
        group=False,
        constant_liar=False,
        seed=seed,
    )


def _pruner(tune: Tuning) -> BasePruner:
    from optuna.pruners import NopPruner, PercentilePruner

    pruner = tune.pruner
    if pruner.name == "none":
        return NopPruner()
    keep = 50.0 if pruner.name == "median" else pruner.keep
    return PercentilePruner(keep, n_startup_trials=pruner.startup, n_warmup_steps=pruner.warmup, n_min_trials=1)
