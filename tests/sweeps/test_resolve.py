"""Arms, refusals and identities."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.models import load_model
from harness.plan import pairs
from sweeps.file import read_sweep
from sweeps.plan import make_plan
from sweeps.plan_table import plan_table
from sweeps.resolve import Sweep, resolve
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
    elsewhere = "executor: {name: ray, address: head:6379}\nresources: {threads: 2}\n"
    assert make_sweep("[toy-base, toy-rate]", extra=elsewhere).identity == one.identity
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
    trial, finals = sweep.trial_specs(sweep.arms[0], {}), sweep.final_specs(sweep.arms[0], sweep.arms[0].component())
    assert [(spec.seed, spec.evaluation.split, spec.evaluation.items) for spec in trial] == [(100, "val", 200)]
    assert [(spec.seed, spec.evaluation.split, spec.evaluation.items) for spec in finals] == [
        (7, "test", 500),
        (8, "test", 500),
    ]


def test_numbers_of_items_that_nobody_asked_for_are_cut_to_what_there_is(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    rows = [json.dumps({"prompt": f"{number}?", "answer": str(number)}) for number in range(60)]
    for split, part in (("train", rows[:30]), ("val", rows[30:37]), ("test", rows[37:])):
        (data / f"{split}.jsonl").write_text("\n".join(part))
    text = f"model: lab\ntask: {{name: jsonl, data: {data}}}\nmethods: [sft]\nbudget: {{steps: 5}}\n"

    def planned(more: str = "") -> Sweep:
        (tmp_path / "own.yaml").write_text(text + more)
        return resolve(*read_sweep(tmp_path / "own.yaml"), load_model("lab").reference())

    sweep = planned("tune: {trials: 2}\n")
    assert (sweep.final_evaluation.items, sweep.tune_evaluation.items, sweep.final_evaluation.curve_items) == (23, 7, 7)
    plan = make_plan(sweep, tmp_path / "runs")
    assert plan.scored == ("a final run on 23 test items, a trial on 7 val items, each of 4 points of the curve on 7")
    assert sweep.identity == planned("tune: {trials: 2, items: 7}\nfinal: {items: 23}\n").identity
    for more, said in (
        ("final: {items: 24}\n", r"line 5: items: jsonl has 23 test items, 24 were asked for: ask for fewer\."),
        ("evaluation: {curve_items: 8}\n", r"curve_items: jsonl has 7 val items, 8 were asked for"),
    ):
        with pytest.raises(UserError, match=said):
            planned(more)
    (data / "test.jsonl").unlink()
    with pytest.raises(UserError, match="jsonl has no test items in its data"):
        planned()


def test_a_small_model_under_large_models_ranges_is_told(tmp_path: Path) -> None:
    text = "model: lab\ntask: {name: countdown, level: L2}\nbudget: {steps: 5}\nmethods:\n"
    moved = "{low: 1.0e-3, high: 2.0e-3, start: 1.0e-3}"
    for methods, told in (
        ("  - base\n  - sft\n  - es\n", ("sft", "es")),
        (f"  - {{name: sft, search: {{learning_rate: {moved}}}}}\n  - {{name: dpo, learning_rate: 1.0e-4}}\n", ()),
    ):
        (tmp_path / "s.yaml").write_text(text + methods)
        plan = make_plan(resolve(*read_sweep(tmp_path / "s.yaml"), load_model("lab").reference()), tmp_path / "runs")
        assert plan.short_steps == told
        assert any("look for learning rate" in str(line) for line in plan_table(plan)) == bool(told)


TRAINING = "training: {accumulation: 2, early_stopping: 1}\n"


def test_training_options_reach_the_methods_that_take_them(make_sweep: MakeSweep) -> None:
    methods = "[toy-base, toy-fixed, toy-search, {name: toy-fixed, as: own, training: {accumulation: 8}}]"
    sweep = make_sweep(methods, extra=TRAINING)
    assert not sweep.refused
    stopping = {"early_stopping": {"patience": 1, "min_delta": 0.0}}
    assert {arm.label: (arm.training.given(), arm.unused) for arm in sweep.arms} == {
        "toy-base": ({}, ("accumulation", "early_stopping")),
        "toy-fixed": ({"accumulation": 2, **stopping}, ()),
        "toy-search": (stopping, ("accumulation",)),
        "own": ({"accumulation": 8, **stopping}, ()),
    }
    for arm in sweep.arms:
        assert all(spec.training == arm.training for spec in sweep.final_specs(arm, arm.component()))


def test_an_option_given_to_a_method_that_cannot_take_it_is_refused(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("[toy-base, {name: toy-search, training: {accumulation: 2}}]")
    assert [(one.method, one.reason.split(":")[0]) for one in sweep.refused] == [("toy-search", "accumulation refused")]


def test_training_options_are_part_of_the_identity_of_who_takes_them(make_sweep: MakeSweep) -> None:
    plain, trained = (make_sweep("[toy-base, toy-fixed]", extra=extra) for extra in ("", TRAINING))
    assert plain.identity != trained.identity
    base, fixed = (
        (plain.tuning_identity(one), trained.tuning_identity(other))
        for one, other in zip(plain.arms, trained.arms, strict=True)
    )
    assert base[0] == base[1] and fixed[0] != fixed[1]


def test_the_plan_says_who_trains_how(make_sweep: MakeSweep, tmp_path: Path) -> None:
    plan = make_plan(make_sweep("[toy-base, toy-fixed, toy-search]", extra=TRAINING), tmp_path / "runs")
    lines = [str(part) for part in plan_table(plan)]
    assert "training of toy-fixed: accumulation 2, early stopping after 1 point" in lines
    assert "toy-search goes without accumulation: it trains without a gradient" in lines


def test_a_control_is_an_arm_beside_its_method(make_sweep: MakeSweep) -> None:
    shuffled, constant = "{name: toy-rate, control: shuffled}", "{name: toy-base, control: constant}"
    sweep = make_sweep(f"[toy-rate, {shuffled}, {constant}]")
    plain, control = sweep.arms
    assert (plain.label, control.label) == ("toy-rate", "toy-rate-shuffled")
    assert sweep.tuning_identity(plain) != sweep.tuning_identity(control)
    specs = [sweep.final_specs(arm, arm.component())[0] for arm in sweep.arms]
    assert [spec.control for spec in specs] == [None, "shuffled"]
    assert specs[0].run_id != specs[1].run_id
    assert "trains on nothing" in sweep.refused[0].reason
