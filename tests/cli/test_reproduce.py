"""`beyondrl reproduce`: the list, a plan, mistakes, and a whole run of a small recipe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cli.sweep_files
from tests.cli.conftest import Say

RECIPE = """paper: es-at-scale
experiment: Countdown by toys
models: {toy: Qwen2.5-3B-Instruct, other: Qwen2.5-7B-Instruct}
device: one GPU
deviations: [everything]
reported: {base: {where: Table 1, method: base}}
sweep: {task: {name: countdown, level: paper}, methods: [base], budget: {steps: 1}, final: {seeds: 3, items: 2000}}
lab:
  task: {name: countdown, level: L0}
  methods: [base]
  budget: {steps: 1}
  final: {seeds: 3, items: 4}
  evaluation: {max_new_tokens: 8, curve_items: 4}
"""


def test_the_list_and_unknown_recipes(say: Say) -> None:
    rows = json.loads(say("reproduce", "--json").out)
    assert {row["recipe"] for row in rows} == set(cli.sweep_files.shipped_recipes())
    answer = say("reproduce", "es-at-scale-countdwn")
    assert answer.code == 2 and "Did you mean 'es-at-scale-countdown'? (beyondrl reproduce)" in answer.err
    answer = say("reproduce", "es-at-scale-countdown", "--lab", "--model", "lab")
    assert answer.code == 2 and "--lab or --model, not both" in answer.err


def test_data_that_a_setting_needs_are_asked_for(say: Say) -> None:
    answer = say("reproduce", "es-at-scale-math")
    assert answer.code == 2 and "deviates: " in answer.out and answer.err.count("\n") == 1
    assert "needs a JSONL file of MATH's problems" in answer.err and "es-at-scale-math --data PATH" in answer.err
    for arguments, said in (
        (("es-at-scale-math", "--lab", "--data", "x"), "--lab or --data, not both"),
        (("es-at-scale-countdown", "--data", "x"), "leave --data out"),
    ):
        answer = say("reproduce", *arguments)
        assert answer.code == 2 and said in answer.err and not answer.out


def test_a_plan_says_what_deviates_and_what_the_lab_changes(say: Say) -> None:
    answer = say("reproduce", "es-at-scale-countdown", "--lab", "--dry-run")
    flat = " ".join(answer.out.split())
    assert answer.code == 0 and "es-at-scale-countdown-lab: 53 runs, 0 done" in flat and "0 refused" in flat
    assert "deviates: the paper has one run of each; here are three seeds" in flat
    assert "the lab differs in: model: Qwen/Qwen2.5-3B-Instruct -> lab; task level: paper -> L2" in flat


def test_a_recipe_is_run_and_set_beside_the_paper(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "toys.yaml"
    path.write_text(RECIPE)
    monkeypatch.setattr(cli.sweep_files, "shipped_recipes", lambda: {"toys": path})
    answer = say("reproduce", "toys", "--lab", "--slots", "1")
    assert answer.code == 0, answer.err
    header, row = answer.out.splitlines()[-2:]
    assert header.split()[:4] == ["arm", "reported", "measured", "verdict"]
    assert row.startswith("base  10.0") and "not comparable" in row and "the lab's setting is another" in row
    assert (tmp_path / "reports/out/toys-lab.html").exists()
