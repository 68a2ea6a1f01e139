"""Ask and tell against real Optuna: the same trials whatever happened in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from harness.parameters import Parameter, Search
from sweeps.file import Pruning, Tuning
from sweeps.space import search_space
from sweeps.storage import open_storage
from sweeps.study import Study

PARAMETERS = {
    "rank": Parameter("rank", "int", 8, "", Search(2, 32, log=True)),
    "rate": Parameter("rate", "float", 1e-3, "", Search(1e-5, 1e-1, log=True)),
    "kind": Parameter("kind", "str", "a", "", Search(choices=("a", "b"))),
}
TUNE = Tuning(trials=8, pruner=Pruning(name="median", startup=2))


def open_study(storage: Any) -> Study:
    return Study(storage, "toy", "identity", PARAMETERS, TUNE)


def step(study: Study) -> tuple[dict[str, Any], bool]:
    trial = study.ask()
    value = trial.parameters["rate"] * 5 + trial.parameters["rank"] / 100
    pruned = study.should_prune(trial.number, {point: value * (point + 1) / 4 for point in range(4)}, 3)
    study.tell(trial.number, "pruned" if pruned else "complete", None if pruned else value)
    return trial.parameters, pruned


def test_distributions() -> None:
    space = search_space(PARAMETERS)
    assert isinstance(space["rank"], optuna.distributions.IntDistribution) and space["rank"].log
    assert isinstance(space["rate"], optuna.distributions.FloatDistribution)
    assert space["kind"] == optuna.distributions.CategoricalDistribution(("a", "b"))
    with pytest.raises(TypeError, match="outside its"):
        search_space({"rank": Parameter("rank", "int", 64, "", Search(2, 32))})


def test_the_first_trial_is_the_defaults() -> None:
    assert open_study(optuna.storages.InMemoryStorage()).ask().parameters == {"rank": 8, "rate": 1e-3, "kind": "a"}


def test_reopened_after_every_trial_it_asks_the_same(tmp_path: Path) -> None:
    whole = open_study(optuna.storages.InMemoryStorage())
    expected = [step(whole) for _ in range(8)]
    assert [step(open_study(open_storage(tmp_path, None))) for _ in range(8)] == expected
    assert whole.ask(most=8) is None
    assert any(pruned for _, pruned in expected) and len({str(one) for one, _ in expected}) > 5


def test_a_running_trial_is_asked_again() -> None:
    storage = optuna.storages.InMemoryStorage()
    first = open_study(storage).ask()
    assert open_study(storage).ask() == first


def test_a_trial_cut_off_while_it_was_drawn_is_drawn_again() -> None:
    storage, whole = optuna.storages.InMemoryStorage(), open_study(optuna.storages.InMemoryStorage())
    expected = [step(whole) for _ in range(3)]
    found = [step(open_study(storage))]
    optuna.load_study(study_name="toy", storage=storage).ask({"rank": search_space(PARAMETERS)["rank"]})
    found += [step(open_study(storage)) for _ in range(2)]
    assert found == expected


def test_torn_defaults_stay_the_first_trial() -> None:
    storage = optuna.storages.InMemoryStorage()
    study = open_study(storage)
    optuna.load_study(study_name="toy", storage=storage).ask()
    assert study.ask().parameters == {"rank": 8, "rate": 1e-3, "kind": "a"}


def test_a_failed_trial_is_tried_again_in_its_place() -> None:
    study = open_study(optuna.storages.InMemoryStorage())
    first = study.ask()
    study.tell(first.number, "failed")
    assert [trial.state for trial in study.trials()] == ["failed"]
    study.retry(first.number)
    again = study.ask()
    assert again.parameters == first.parameters and [trial.number for trial in study.trials()] == [again.number]


def test_the_verdict_of_the_pruner_does_not_depend_on_when_it_is_asked() -> None:
    def verdicts(at_once: bool) -> list[bool]:
        study, found = open_study(optuna.storages.InMemoryStorage()), []
        for value in (0.5, 0.6, 0.1):
            trial = study.ask()
            curve = {0: value / 2, 1: value, 2: 1.0 - value, 3: 0.9}
            if at_once:
                pruned = study.should_prune(trial.number, curve, 3)
            else:
                parts = [{point: curve[point] for point in range(upto)} for upto in range(1, 5)]
                pruned = any([study.should_prune(trial.number, part, 3) for part in parts])
            study.tell(trial.number, "pruned" if pruned else "complete", None if pruned else 0.9)
            found.append(pruned)
        return found

    assert verdicts(True) == verdicts(False) == [False, False, True]


def test_a_journal_torn_by_a_kill_is_mended(tmp_path: Path) -> None:
    study = open_study(open_storage(tmp_path, None))
    for _ in range(2):
        step(study)
    journal = tmp_path / "study.journal"
    with journal.open("ab") as file:
        file.write(b'{"op_code": 5, "worker')
    (tmp_path / "study.journal.lock").symlink_to(journal)
    again = open_study(open_storage(tmp_path, None))
    assert len(again.trials()) == 2
    step(again)
    assert len(open_study(open_storage(tmp_path, None)).trials()) == 3
