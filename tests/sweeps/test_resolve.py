"""Arms, refusals and identities."""

from __future__ import annotations

from harness.plan import pairs
from tests.sweeps.conftest import MakeSweep


def test_arms_that_are_not_tuned_say_why(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("[toy-base, toy-fixed, toy-rate]")
    assert [(arm.label, arm.trials, arm.untuned) for arm in sweep.arms] == [
        ("toy-base", 0, "no training"),
        ("toy-fixed", 0, "nothing to tune"),
        ("toy-rate", 3, None),
    ]


def test_refusals_name_the_nearest_legal_combination(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("[toy-base, toy-documents, toy-mismatch]")
    reasons = {one.method: one.reason for one in sweep.refused}
    assert "needs documents, task 'toy-task' offers verifier only. Nearest that can: toy-" in reasons["toy-documents"]
    assert "'toy-fitness' takes fitness, 'toy-objective' gives gradient only. Use optimiser" in reasons["toy-mismatch"]
    assert [arm.label for arm in sweep.arms] == ["toy-base"]
    table = {(pair.method, pair.task): pair.reason for pair in pairs()}
    assert table["toy-rate", "toy-task"] is None and table["toy-documents", "toy-task"] is not None


def test_identity_changes_with_what_decides_and_with_nothing_else(make_sweep: MakeSweep) -> None:
    one = make_sweep("[toy-base, toy-rate]")
    assert make_sweep("[toy-base, toy-rate]").identity == one.identity
    assert make_sweep("[toy-base, toy-rate]", extra="storage: sqlite:///x.db\n").identity == one.identity
    others = [
        make_sweep("[toy-rate]"),
        make_sweep("[toy-base, toy-rate]", trials=4),
        make_sweep("[toy-base, toy-rate]", final="3"),
        make_sweep("[toy-base, {name: toy-rate, search: {rank: {low: 2, high: 8}}}]"),
        make_sweep("[toy-base, toy-rate]", tune=", pruner: {name: none}"),
    ]
    assert len({one.identity, *(other.identity for other in others)}) == 6


def test_tuning_identity_outlives_more_trials_seeds_and_arms(make_sweep: MakeSweep) -> None:
    one = make_sweep("[toy-rate]")
    more = make_sweep("[toy-base, toy-rate]", trials=9, final="5")
    assert one.tuning_identity(one.arms[0]) == more.tuning_identity(more.arms[1])


def test_a_moved_range_has_its_own_start(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("[{name: toy-rate, search: {rank: {low: 8, high: 16, start: 12}}}]")
    arm = sweep.arms[0]
    assert arm.component().parameters["rank"] == 12
    assert arm.tunable["rank"].search is not None and arm.tunable["rank"].search.log
    assert sweep.trial_specs(arm, {"rank": 9})[0].method.parameters["rank"] == 9


def test_trials_see_val_and_final_runs_see_test(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("[toy-rate]", final="[7, 8]")
    trial, finals = sweep.trial_specs(sweep.arms[0], {}), sweep.final_specs(sweep.arms[0].component())
    assert [(spec.seed, spec.evaluation.split, spec.evaluation.items) for spec in trial] == [(100, "val", 200)]
    assert [(spec.seed, spec.evaluation.split, spec.evaluation.items) for spec in finals] == [
        (7, "test", 500),
        (8, "test", 500),
    ]
