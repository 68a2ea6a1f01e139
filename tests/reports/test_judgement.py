"""Verdicts on arms whose truth is known, and every rule that keeps a claim from being called supported."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.spec import EvaluationProtocol
from reports.claim_rows import claims_table, overview
from reports.judgement import Judgement, decide, judge, seeds_to_decide
from reports.ledger import Claim, read_ledger
from reports.statistics import Estimate
from reports.sweep_data import MethodData, SweepData


def claim(**changes: Any) -> Claim:
    given = {
        "key": "es-above-grpo", "claim": "es is above grpo", "source": "somebody", "first": {"method": "es"},
        "second": {"method": ["grpo", "dr-grpo"]}, "budget": "flops", "expect": "above", "matters": 0.02,
        "run": "beyondrl sweep quickstart",
    }  # fmt: skip
    return Claim(**{**given, **changes})


def arm(name: str, accuracy: float, seeds: int = 5, spread: float = 0.0, **of_run: Any) -> MethodData:
    """An arm that is right on the first `accuracy` of 400 questions, give or take `spread` from seed to seed."""
    method, trials = of_run.pop("method", name), of_run.pop("trials", 3)
    retention = of_run.pop("retention", [])
    shares = accuracy + spread * np.linspace(-1, 1, seeds)
    scores = np.array([np.arange(400) < round(400 * share) for share in shares], dtype=float)
    run = {
        "method": method, "parameters": "{}", "control": None, "steps": 10, "trainable_parameters": 1000,
        "budget": json.dumps({"flops": 1e12}), "evaluation": EvaluationProtocol(items=400).model_dump_json(),
        "flops": 1e12, "rollouts": 1000, "device_seconds": 10.0, "tokens_per_completion": 20.0, **of_run,
    }  # fmt: skip
    runs = [{"seed": seed, **run} for seed in range(1, seeds + 1)]
    tried = [{"number": number} for number in range(trials)]
    return MethodData(name, {}, runs, list(range(1, seeds + 1)), scores, [], tried, [], seeds, retention=retention)


def sweep(*methods: MethodData, split: str = "test", environments: int = 1) -> SweepData:
    places = [{"cpu": f"cpu {n}", "gpu": None, "threads": 1} for n in range(environments)]
    about = {
        "sweep": "small",
        "task": "countdown",
        "task_parameters": {"level": "L1", "windows": 4.0},
        "final_evaluation": {"split": split},
    }
    return SweepData(about, list(methods), [], places, [])


def one(found: list[Judgement]) -> Judgement:
    (only,) = found
    return only


GOOD, BAD = arm("es", 0.6, spread=0.01), arm("grpo", 0.4, spread=0.01)


def test_a_clear_and_fair_contrast_is_a_verdict() -> None:
    assert one(judge(claim(), [sweep(GOOD, BAD)])).verdict == "supported"
    assert one(judge(claim(first={"method": "grpo"}, second={"method": "es"}), [sweep(GOOD, BAD)])).verdict == "refuted"
    below = claim(first={"method": "grpo"}, second={"method": "es"}, expect="below")
    assert one(judge(below, [sweep(GOOD, BAD)])).verdict == "supported"


def test_what_was_tuned_less_than_its_rival_is_not_refuted() -> None:
    """It might have lost for that; where it wins all the same, that is only the stronger."""
    untuned, rival = arm("es", 0.4, trials=0), arm("grpo", 0.6, trials=12)
    found = one(judge(claim(), [sweep(untuned, rival)]))
    assert found.verdict == "not comparable" and found.findings[0].broken == ("0 trials of es, 12 of grpo",)
    assert one(judge(claim(), [sweep(arm("es", 0.8, trials=0), rival)])).verdict == "supported"


def short(seeds: int) -> tuple[MethodData, MethodData]:
    return arm("es", 0.6, seeds), arm("grpo", 0.4, seeds)


VLLM = EvaluationProtocol(items=400, engine="vllm").model_dump_json()
HOT = EvaluationProtocol(items=400, temperature=1.0).model_dump_json()


@pytest.mark.parametrize(
    ("arms", "of_sweep", "rule"),
    [
        (short(1), {}, "1 shared seed, a verdict takes 3"),
        (short(2), {}, "2 shared seeds, a verdict takes 3"),
        ((GOOD, arm("grpo", 0.4, budget='{"flops": 2e12}')), {}, "unequal budgets"),
        ((GOOD, arm("grpo", 0.4, flops=4e11)), {}, "budget unequally spent: 100% and 40%"),
        ((GOOD, arm("grpo", 0.4, evaluation=VLLM)), {}, "mixed engines: hf and vllm"),
        ((GOOD, arm("grpo", 0.4, evaluation=HOT)), {}, "answers were decoded or chosen differently"),
        ((GOOD, arm("grpo", 0.4, trials=0)), {}, "untuned baseline: no trials of grpo"),
        ((GOOD, arm("grpo", 0.4, trials=2)), {}, "3 trials of es, 2 of grpo"),
        ((GOOD, replace(BAD, planned_finals=6)), {}, "grpo has 5 of 6 final runs"),
        ((GOOD, BAD), {"split": "val"}, "scored on val, where settings are chosen"),
    ],
)
def test_a_broken_rule_keeps_a_claim_from_being_supported(
    arms: tuple[MethodData, ...], of_sweep: dict[str, Any], rule: str
) -> None:
    """The difference is 20 points in every case; without the rule it would be called supported."""
    found = one(judge(claim(), [sweep(*arms, **of_sweep)]))
    assert found.verdict == "not comparable" and found.findings[0].broken == (rule,)
    assert found.findings[0].effect is None


def test_arms_that_have_learnt_nothing_agree_about_nothing() -> None:
    """Two arms at the base's level are near each other on a task that neither can do, or that the base does already."""
    near = claim(expect="near")
    base = arm("base", 0.4, spread=0.01, steps=0)
    still = sweep(base, arm("es", 0.4, spread=0.01), arm("grpo", 0.4, spread=0.01))
    found = one(judge(near, [still]))
    assert found.verdict == "not comparable"
    assert found.findings[0].broken == (
        "neither arm has moved away from the base, so nothing was learnt that could differ",
    )
    for moved in (0.6, 0.2):
        assert one(judge(near, [sweep(base, arm("es", moved), arm("grpo", moved))])).verdict == "supported"
        assert one(judge(near, [sweep(base, arm("es", 0.4, spread=0.01), arm("grpo", 0.2))])).verdict == "supported"
    assert one(judge(claim(), [sweep(base, arm("es", 0.4), arm("grpo", 0.6, spread=0.01))])).verdict == "refuted"
    without = sweep(arm("es", 0.4, spread=0.01), arm("grpo", 0.4, spread=0.01))
    assert one(judge(near, [without])).verdict == "supported"


def test_the_budget_must_be_on_the_claims_own_meter() -> None:
    found = one(judge(claim(budget="rollouts"), [sweep(GOOD, BAD)]))
    assert found.findings[0].broken == ("the budget is flops, not rollouts",)
    both = '{"flops": 1e12, "rollouts": 1000}'
    two = sweep(arm("es", 0.6, budget=both), arm("grpo", 0.4, budget=both))
    assert one(judge(claim(), [two])).verdict == "not comparable"
    assert one(judge(claim(budget=None), [two])).verdict == "supported"


def test_times_are_compared_on_one_kind_of_machine() -> None:
    times = claim(estimand="seconds", expect="below", matters=2)
    fast, slow = arm("es", 0.4, device_seconds=2.0), arm("grpo", 0.4, device_seconds=20.0)
    assert one(judge(times, [sweep(fast, slow)])).verdict == "supported"
    mixed = one(judge(times, [sweep(fast, slow, environments=2)]))
    assert mixed.findings[0].broken == ("2 kinds of machines",)
    assert one(judge(claim(), [sweep(GOOD, BAD, environments=2)])).verdict == "supported"


def test_what_trains_nothing_has_no_budget_and_nothing_to_tune() -> None:
    base = arm("base", 0.4, steps=0, trials=0, flops=0.0)
    assert one(judge(claim(second={"method": "base"}), [sweep(GOOD, base)])).verdict == "supported"


def test_it_must_hold_against_every_baseline() -> None:
    strong = arm("grpo-tuned", 0.7, method="grpo", spread=0.01)
    assert one(judge(claim(), [sweep(GOOD, BAD, strong)])).verdict == "refuted"
    lonely = arm("grpo-one", 0.3, seeds=1, method="grpo")
    assert one(judge(claim(), [sweep(GOOD, BAD, lonely)])).verdict == "not comparable"


def test_what_has_every_question_right_need_not_spend_the_rest_of_its_budget() -> None:
    """A baseline at the ceiling is no weaker for having ended early; one below it might be, and times are times."""
    near, perfect = claim(expect="near"), arm("grpo", 1.0, flops=4e11)
    assert one(judge(near, [sweep(GOOD, perfect)])).verdict == "refuted"
    assert one(judge(near, [sweep(GOOD, arm("grpo", 0.99, flops=4e11))])).verdict == "not comparable"
    assert one(judge(near, [sweep(arm("es", 0.6, flops=4e11), arm("grpo", 1.0))])).verdict == "not comparable"
    times = claim(estimand="seconds", matters=2)
    assert one(judge(times, [sweep(GOOD, perfect)])).verdict == "not comparable"


def test_arms_of_one_claim_that_disagree_decide_nothing() -> None:
    other = arm("es-small", 0.3, method="es", spread=0.01)
    assert one(judge(claim(), [sweep(GOOD, other, BAD)])).verdict == "inconclusive"


def test_negative_controls_other_tasks_and_other_settings_are_no_evidence() -> None:
    control = arm("es", 0.6, control="shuffled")
    assert one(judge(claim(), [sweep(control, BAD)])).verdict == "not run"
    assert one(judge(claim(tasks=("sudoku",)), [sweep(GOOD, BAD)])).verdict == "not run"
    for settings, verdict in (({"windows": 4}, "supported"), ({"windows": 8}, "not run"), ({"other": 4}, "not run")):
        assert one(judge(claim(settings=settings), [sweep(GOOD, BAD)])).verdict == verdict
    assert one(judge(claim(), [])).sweep is None


def test_a_claim_that_needs_more_than_its_arms_is_not_judged_by_them() -> None:
    assert one(judge(claim(run=None, needs="longer documents"), [sweep(GOOD, BAD)])).verdict == "not run"


def test_compositions_match_on_the_same_rest_and_like_parameters() -> None:
    about = claim(first={"method": "squeeze+*"}, second={"method": "lora+*"}, alike=("rank",))
    squeezed = arm("squeezed", 0.6, method="squeeze+sft", parameters='{"rank": 4}')
    direct = arm("direct", 0.4, method="lora+sft", parameters='{"rank": 4}')
    other_rank = arm("wide", 0.7, method="lora+sft", parameters='{"rank": 32}')
    other_rest = arm("rl", 0.7, method="lora+grpo", parameters='{"rank": 4}')
    found = one(judge(about, [sweep(squeezed, direct, other_rank, other_rest)]))
    assert [(f.first, f.second) for f in found.findings] == [("squeezed", "direct")] and found.verdict == "supported"


def test_a_saving_must_be_one() -> None:
    few = claim(parameters=0.5, expect="near")
    assert one(judge(few, [sweep(GOOD, BAD)])).verdict == "not run"
    small = arm("es", 0.4, trainable_parameters=400)
    assert one(judge(few, [sweep(small, BAD)])).verdict == "supported"


def test_forgetting_is_compared_at_equal_gain() -> None:
    def lost(*changes: float) -> list[dict[str, Any]]:
        return [{"probe": "words", "measure": "accuracy", "changes": list(changes)}]

    about = claim(estimand="retention", equal_gain=0.05, budget=None)
    keeps = arm("es", 0.5, 3, retention=lost(-0.01, -0.02, -0.01))
    loses = arm("grpo", 0.5, 3, retention=lost(-0.20, -0.21, -0.19))
    far = arm("dr-grpo", 0.9, 3, retention=lost(0.0, 0.0, 0.0))
    found = one(judge(about, [sweep(keeps, loses, far)]))
    assert found.verdict == "supported" and [f.second for f in found.findings] == ["grpo"]
    apart = one(judge(about, [sweep(keeps, far)]))
    assert apart.findings[0].broken == ("unequal gains: 40.0 points apart",)
    unwatched = one(judge(about, [sweep(arm("es", 0.5), arm("grpo", 0.5))]))
    assert unwatched.findings[0].broken == ("the sweep watches no probes",)


def test_spreads_are_compared_by_their_ratio() -> None:
    steady = claim(estimand="spread", expect="below", matters=1.5)
    calm, wild = arm("es", 0.5, 8, spread=0.01), arm("grpo", 0.5, 8, spread=0.2)
    assert one(judge(steady, [sweep(calm, wild)])).verdict == "supported"
    assert one(judge(steady, [sweep(calm, arm("grpo", 0.5, 8, spread=0.012))])).verdict == "inconclusive"
    frozen = one(judge(steady, [sweep(arm("es", 0.5), wild)]))
    assert frozen.findings[0].broken == ("the seeds of an arm all scored the same",)


def estimate(mean: float, low: float, high: float) -> Estimate:
    return Estimate(mean, low, high, 0.5, 0.1)


@pytest.mark.parametrize(
    ("expect", "value", "verdict"),
    [
        ("above", (0.03, 0.01, 0.05), "supported"),
        ("above", (0.015, 0.01, 0.05), "inconclusive"),
        ("above", (0.03, -0.01, 0.07), "inconclusive"),
        ("above", (0.01, 0.005, 0.015), "refuted"),
        ("above", (-0.03, -0.05, -0.01), "refuted"),
        ("below", (-0.03, -0.05, -0.01), "supported"),
        ("below", (0.03, 0.01, 0.05), "refuted"),
        ("near", (-0.01, -0.019, -0.001), "supported"),
        ("near", (0.3, 0.2, 0.4), "supported"),
        ("near", (-0.01, -0.03, 0.01), "inconclusive"),
        ("near", (-0.03, -0.05, -0.01), "refuted"),
        ("equal", (0.0, -0.019, 0.019), "supported"),
        ("equal", (0.0, -0.03, 0.03), "inconclusive"),
        ("equal", (0.03, 0.01, 0.05), "refuted"),
        ("equal", (-0.03, -0.05, -0.01), "refuted"),
        ("equal", (0.01, 0.005, 0.03), "inconclusive"),
    ],
)
def test_the_verdict_rules(expect: str, value: tuple[float, float, float], verdict: str) -> None:
    assert decide(claim(expect=expect), estimate(*value)) == verdict


def test_a_factor_is_judged_on_its_logarithm() -> None:
    longer = claim(estimand="length", matters=1.1)
    assert decide(longer, estimate(math.log(1.2), math.log(1.15), math.log(1.25))) == "supported"
    assert decide(longer, estimate(math.log(1.05), math.log(1.02), math.log(1.08))) == "refuted"


def test_more_seeds_at_the_same_estimate_bring_the_verdict() -> None:
    """As many seeds as it says, of the same spread, and the interval clears the bound in most draws."""
    rng = np.random.default_rng(0)
    about = claim(budget=None)

    def drawn(name: str, mean: float, seeds: int) -> MethodData:
        shares = rng.normal(mean, 0.03, (seeds, 1))
        return replace(arm(name, 0.5, seeds), scores=(rng.random((seeds, 400)) < shares).astype(float))

    found = one(judge(about, [sweep(drawn("es", 0.55, 3), drawn("grpo", 0.5, 3))]))
    (finding,) = found.findings
    assert found.verdict == "inconclusive" and finding.effect is not None
    wanted = seeds_to_decide(about, finding.effect)
    assert wanted is not None and wanted > 3
    again = [judge(about, [sweep(drawn("es", 0.55, 30), drawn("grpo", 0.5, 30))]) for _ in range(20)]
    assert sum(one(each).verdict == "supported" for each in again) >= 16


def test_a_report_shows_the_claims_that_its_sweep_bears_on() -> None:
    table = claims_table(sweep(GOOD, BAD, arm("sft", 0.3)))
    rows = {row[0]: row[1:] for row in table.rows}
    verdict, evidence = rows[read_ledger()["es-above-grpo-flops"].claim]
    assert verdict == "supported" and evidence.startswith("es against grpo: +20.0 [")
    assert rows[read_ledger()["es-above-grpo-tokens"].claim][0] == "not comparable"
    assert claims_table(sweep(GOOD)).rows == []


def test_the_overview_names_the_sweep_that_decides_and_no_other() -> None:
    other = replace(sweep(GOOD, BAD, split="val"), sweep={**sweep(split="val").sweep, "sweep": "on-val"})
    (row,) = overview(judge(claim(), [sweep(GOOD, BAD), other]))
    assert row["verdict"] == "supported" and row["evidence"].startswith("small: es against grpo: +20.0 [")
    (row,) = overview(judge(claim(), [other]))
    assert row["evidence"] == "on-val: es against grpo: scored on val, where settings are chosen"
    (row,) = overview(judge(claim(), []))
    assert row == {"claim": "es-above-grpo", "verdict": "not run", "evidence": "run: beyondrl sweep quickstart"}
