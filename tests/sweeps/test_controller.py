"""A whole sweep on real processes with a stand-in worker: trials, winners, final runs, failures, taking up again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from harness.errors import UserError
from harness.executors.local import LocalExecutor
from harness.record import RunDirectory
from sweeps.controller import Controller, Outcome
from sweeps.directory import SweepDirectory, all_sweeps
from sweeps.plan import make_plan
from sweeps.progress import PlainLines
from sweeps.resolve import Sweep
from tests.sweeps.conftest import MakeSweep
from tests.sweeps.toys import toy_work


def run(sweep: Sweep, runs: Path) -> tuple[Outcome, list[str]]:
    """Run a sweep to its end; the outcome and the lines it printed."""
    with (runs.parent / "lines.txt").open("w+") as file:
        executor = LocalExecutor(2, work=toy_work)
        controller = Controller(sweep, runs, executor, executor.resources, ["beyondrl sweep toy.yaml"])
        outcome = controller.run(PlainLines(Console(file=file, width=300)))
        file.seek(0)
        return outcome, file.read().splitlines()


def starts(runs: Path) -> list[str]:
    """Identity of every run that a worker began, in order."""
    log = runs / "starts.log"
    return [line.split()[0] for line in log.read_text().splitlines()] if log.exists() else []


def test_from_tuning_to_final_runs_and_nothing_twice(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, runs = make_sweep("[toy-base, toy-fixed, toy-rate, toy-documents]", trials=4), tmp_path / "runs"
    outcome, lines = run(sweep, runs)
    record = outcome.record
    assert record.finished and not outcome.failures and outcome.processes == 4 + 3 * 2
    assert [arm.method for arm in record.arms] == ["toy-base", "toy-fixed", "toy-rate"]
    assert [one.method for one in record.refused] == ["toy-documents"]
    tuned = record.arms[2]
    assert [trial.number for trial in tuned.trials] == [0, 1, 2, 3] and not record.arms[0].trials
    assert tuned.trials[0].parameters == {"rate": 0.1, "rank": 4}
    best = max(tuned.trials, key=lambda trial: (trial.value or 0.0, -trial.number))
    assert tuned.winner is not None and best.parameters.items() <= tuned.winner.items()
    assert all((runs / "toy-task" / "toy-rate" / run_id / "result.json").exists() for run_id in tuned.final_run_ids)
    assert len(lines) == outcome.processes and any(line.startswith("toy-rate  trial 1/4  ") for line in lines)
    assert SweepDirectory.of(runs, "toy").read() == record
    assert (runs / "sweeps" / "toy" / "sweep.yaml").read_text() == sweep.source

    again, lines = run(sweep, runs)
    assert again.record == record and again.processes == 0 and lines == []
    assert len(starts(runs)) == len(set(starts(runs))) == outcome.processes


def test_what_is_done_at_the_beginning_leaves_no_slot_empty(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, runs = make_sweep("[toy-base, toy-fixed]"), tmp_path / "runs"
    executor, at_work = LocalExecutor(2, work=toy_work), []
    controller = Controller(sweep, runs, executor, executor.resources, [])
    with (tmp_path / "lines").open("w") as file:
        controller.run(PlainLines(Console(file=file)), lambda: at_work.append(controller.processes))
    assert at_work == [2]


def test_a_lost_study_is_rebuilt_from_the_runs(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, runs = make_sweep("[toy-rate]", trials=6), tmp_path / "runs"
    first, _ = run(sweep, runs)
    for file in (runs / "sweeps" / "toy").iterdir():
        file.unlink()
    second, _ = run(sweep, runs)
    assert second.record == first.record and second.processes == 0


def test_the_plan_is_the_same_on_another_machine(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep = make_sweep("[toy-rate, {name: toy-rate, seconds: 0.2, as: slow}]", trials=4)
    outcomes = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        outcomes.append(run(sweep, tmp_path / name / "runs")[0].record)
    assert outcomes[0] == outcomes[1]
    sampled = [[trial.parameters for trial in arm.trials] for arm in outcomes[0].arms]
    assert sampled[0] != sampled[1]


def test_more_trials_and_seeds_repeat_nothing_and_keep_the_earlier_sweep(make_sweep: MakeSweep, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    small, large = make_sweep("[toy-rate]", trials=3), make_sweep("[toy-rate]", trials=5, final="3")
    first, _ = run(small, runs)
    second, _ = run(large, runs)
    assert second.record.arms[0].trials[:3] == first.record.arms[0].trials
    assert second.set_aside == f"toy.{small.identity[:8]}"
    assert len(starts(runs)) == len(set(starts(runs)))
    assert {one.path.name for one in all_sweeps(runs)} == {"toy", second.set_aside}
    third, _ = run(small, runs)
    assert third.record == first.record and third.processes == 0
    assert {one.path.name for one in all_sweeps(runs)} == {"toy", f"toy.{large.identity[:8]}"}


def test_a_trial_is_the_mean_over_the_tuning_seeds(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, runs = make_sweep("[toy-rate]", trials=2, tune=", seeds: [100, 101]"), tmp_path / "runs"
    trials = run(sweep, runs)[0].record.arms[0].trials
    assert [trial.number for trial in trials] == [0, 0, 1, 1]
    results = [RunDirectory(runs / "toy-task" / "toy-rate" / trial.run_id).read_result() for trial in trials]
    assert trials[0].value == pytest.approx((results[0].score.accuracy + results[1].score.accuracy) / 2)


def test_pruning_stops_a_run_and_the_winner_is_a_whole_trial(make_sweep: MakeSweep, tmp_path: Path) -> None:
    tune = ", pruner: {name: median, startup: 1}"
    sweep = make_sweep("[{name: toy-rate, seconds: 0.6}]", trials=6, tune=tune)
    record = run(sweep, tmp_path / "runs")[0].record
    states = [trial.state for trial in record.arms[0].trials]
    assert "pruned" in states and states[0] == "complete"
    pruned = next(trial for trial in record.arms[0].trials if trial.state == "pruned")
    assert pruned.value is None
    status = RunDirectory(tmp_path / "runs" / "toy-task" / "toy-rate" / pruned.run_id).status()
    assert status in ("pruned", "done")


def test_a_killed_run_is_tried_once_more(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, runs = (
        make_sweep("[{name: toy-rate, behaviour: die-once, as: shaky}]", trials=1, final="1"),
        tmp_path / "runs",
    )
    outcome, _ = run(sweep, runs)
    assert not outcome.failures and outcome.processes == 4


@pytest.mark.parametrize(
    ("behaviour", "said", "attempts", "attempts_again"),
    [
        ("die", "killed by signal 9, twice", 2, 2),
        ("silent", "last words: RuntimeError: toy worker fell over", 1, 1),
        ("bug", "bug in train: toy bug", 1, 1),
        ("nan", "nan in train: toy nan", 1, 0),
    ],
)
def test_failures_are_told_and_do_not_stop_the_others(
    make_sweep: MakeSweep, tmp_path: Path, behaviour: str, said: str, attempts: int, attempts_again: int
) -> None:
    runs = tmp_path / "runs"
    sweep = make_sweep(f"[toy-base, {{name: toy-rate, behaviour: {behaviour}, as: bad}}]", trials=1, final="[1]")
    outcome, lines = run(sweep, runs)
    assert list(outcome.failures) == ["bad"] and "none of the 1 trials" in outcome.failures["bad"]
    assert any(line.startswith("bad  trial 1/1  failed") and said in line for line in lines)
    assert outcome.processes == 1 + attempts
    trial = outcome.record.arms[1].trials[0]
    assert (trial.state, trial.value) == ("failed", None)
    again, _ = run(sweep, runs)
    assert again.processes == attempts_again and list(again.failures) == ["bad"]
    assert len(again.record.arms[1].trials) == 1


def test_a_failed_final_run_is_told(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep = make_sweep("[toy-base, {name: toy-rate, behaviour: bug, as: bad}]", trials=0, final="[1, 2]")
    outcome, _ = run(sweep, tmp_path / "runs")
    assert "seed 1: bug in train: toy bug" in outcome.failures["bad"] and outcome.processes == 4


def test_two_controllers_on_one_sweep(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, runs = make_sweep("[toy-base]"), tmp_path / "runs"
    with SweepDirectory.of(runs, "toy").held(), pytest.raises(UserError, match="is being run by process"):
        run(sweep, runs)


def test_a_study_database(make_sweep: MakeSweep, tmp_path: Path) -> None:
    storage = f"storage: sqlite:///{tmp_path}/study.db\n"
    outcome, _ = run(make_sweep("[toy-rate]", extra=storage), tmp_path / "runs")
    assert not outcome.failures and not (tmp_path / "runs" / "sweeps" / "toy" / "study.journal").exists()
    with pytest.raises(UserError, match="cannot be opened"):
        run(make_sweep("[toy-rate]", trials=2, extra="storage: sqlite:////nowhere/at/all.db\n"), tmp_path / "runs")
    with pytest.raises(UserError, match="cannot be opened"):
        run(make_sweep("[toy-rate]", trials=2, extra="storage: nonsense\n"), tmp_path / "runs")


def test_the_plan_counts_what_is_done(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, runs = make_sweep("[toy-base, toy-rate]"), tmp_path / "runs"
    plan = make_plan(sweep, runs)
    assert (plan.runs, plan.runs_left) == (7, 7) and not runs.exists()
    run(sweep, runs)
    plan = make_plan(sweep, runs)
    assert plan.runs_left == 0
    more = make_plan(make_sweep("[toy-base, toy-rate]", final="4"), runs)
    assert more.arms[0].final_done == 2 and more.arms[0].runs_left == 2


def test_the_record_is_strict_json(make_sweep: MakeSweep, tmp_path: Path) -> None:
    run(make_sweep("[toy-rate]"), tmp_path / "runs")
    text = (tmp_path / "runs" / "sweeps" / "toy" / "sweep.json").read_text()
    assert json.loads(text)["name"] == "toy" and "NaN" not in text
