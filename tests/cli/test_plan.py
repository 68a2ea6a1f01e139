"""`beyondrl plan`: the table with estimates, prices that are none, and nothing to check against."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Say

SWEEP = """
name: small
model: lab
task: {name: countdown, level: L1}
methods: [base, {name: sft, examples: 64}]
budget: {steps: 2}
final: {seeds: 1, items: 10}
evaluation: {curve_points: 0, engine: hf}
price: {per_device_hour: 3.0, currency: EUR}
"""


def test_a_plan_says_what_a_run_takes_and_where_it_does_not_fit(say: Say, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SWEEP)
    told = say("plan", "small.yaml", "--device-memory", "tiny=1MB")
    assert told.code == 0, told.err
    assert "no time, since there is no history for base, sft" in told.out
    assert "sft does not fit tiny (1.0 MB a process); what would make it fit: nothing that was tried" in told.out
    assert "every run fits this machine" in told.out
    dry = say("sweep", "small.yaml", "--dry-run")
    assert dry.out.splitlines()[:5] == told.out.splitlines()[:5] and "a run of" in dry.out
    plan = json.loads(say("plan", "small.yaml", "--json").out)
    assert [one["method"] for one in plan["estimates"]] == ["base", "sft"]
    assert plan["estimates"][1]["work"]["steps"] == 2.0
    assert not (tmp_path / "runs").exists()


def test_a_price_that_is_none_and_a_sweep_that_was_never_run(say: Say, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SWEEP)
    told = say("plan", "small.yaml", "--price", "cheap")
    assert told.code == 2 and "'cheap' is no price of a device-hour: --price 2.50" in told.err
    told = say("plan", "small.yaml", "--check")
    assert told.code == 2 and "There is nothing to check 'small' against" in told.err


def test_a_plan_says_whose_memory_it_does_not_know(say: Say, tmp_path: Path) -> None:
    text = SWEEP.replace("{name: countdown, level: L1}", "{name: facts, level: F0, context: none}")
    text = text.replace("{name: sft, examples: 64}", "{name: d2l, longest: 64, latent: 16, blocks: 1, documents: 64}")
    (tmp_path / "small.yaml").write_text(text.replace("model: lab", "model: lab-reader"))
    told = say("plan", "small.yaml")
    assert told.code == 0, told.err
    assert "every run but those of d2l (unknown) fits this machine" in told.out
    assert "no estimate of d2l: what a generator keeps of what it reads or writes is known from runs alone" in told.out
