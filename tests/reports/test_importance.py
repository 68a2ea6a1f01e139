"""Which settings mattered: found where one did, refused where trials are too few, and the same every time."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from reports.importance import TRIALS, importance, importances, slices
from reports.sweep_data import MethodData, SweepData


def tuned(name: str, trials: int) -> MethodData:
    """The score follows the logarithm of the learning rate; rank and kind do nothing."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for number in range(trials):
        rate = float(10 ** rng.uniform(-5, -2))
        given = {"learning_rate": rate, "rank": int(rng.integers(2, 33)), "kind": str(rng.choice(["a", "b"])), "n": 5}
        value = float(0.5 - 0.1 * (np.log10(rate) + 3.5) ** 2)
        rows.append({"number": number, "parameters": json.dumps(given), "state": "complete", "value": value})
    rows.append({"number": trials, "parameters": json.dumps({"learning_rate": 1}), "state": "failed", "value": None})
    return MethodData(name, None, [], [], np.zeros((0, 0)), [], rows, [], 0)


def data(*methods: MethodData) -> SweepData:
    return SweepData({}, list(methods), [], [], [])


def test_the_setting_that_mattered_comes_first() -> None:
    found = importances(tuned("a", 24))
    assert next(iter(found)) == "learning_rate" and found["learning_rate"] > 0.8
    assert set(found) == {"learning_rate", "rank", "kind"} and importances(tuned("a", 24)) == found


def test_the_table_says_what_was_tried_and_who_had_too_few_trials() -> None:
    table = importance(data(tuned("a", 24), tuned("b", TRIALS - 1)))
    assert table.rows[0][:2] == ["a", "learning_rate"] and {row[0] for row in table.rows} == {"a"}
    assert f"b ({TRIALS - 1})" in table.note and table.rows[0][-1] == "24"
    assert importance(data(tuned("b", 3))).rows == [] and slices(data(tuned("b", 3))) is None


def test_a_slice_has_a_panel_a_setting() -> None:
    figure = slices(data(tuned("a", 12)))
    assert figure is not None and figure.wide and figure.svg.count('id="axes_') == 3
    assert "a learning_rate" in figure.text


def test_a_setting_varied_alone_explains_everything() -> None:
    method = tuned("a", 24)
    rows = [trial | {"parameters": json.dumps({"learning_rate": place})} for place, trial in enumerate(method.trials)]
    assert importances(replace(method, trials=rows)) == {"learning_rate": 1.0}


def test_a_thousand_trials_take_a_smaller_forest_that_says_the_same() -> None:
    many = importances(tuned("a", 1000))
    assert many["learning_rate"] > 0.97 and max(many["rank"], many["kind"]) < 0.02
