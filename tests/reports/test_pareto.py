"""A front over two meters: who is on it, whichever way is better, and mistakes in one sentence."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import UserError
from reports.comparison import Comparison, Standing
from reports.panel import looks_of
from reports.pareto import pareto_figure, parse_meters, undominated
from reports.statistics import Estimate
from reports.sweep_data import MethodData


def test_cheaper_and_better_is_undominated() -> None:
    points = [(1.0, 0.2), (2.0, 0.5), (3.0, 0.4), (2.0, 0.3)]
    assert undominated(points, ("flops", "accuracy")) == [True, True, False, False]
    assert undominated(points, ("flops", "device_seconds")) == [True, False, False, False]
    assert undominated(points, ("accuracy", "reward")) == [False, True, True, False]
    assert undominated([(1.0, 1.0), (1.0, 1.0)], ("flops", "accuracy")) == [True, True]


def test_the_figure_names_who_is_on_the_front_and_leaves_out_what_was_not_measured() -> None:
    def standing(name: str, flops: float, accuracy: float, memory: float | None = None) -> Standing:
        runs = [{"flops": flops, "accuracy": accuracy, "peak_memory_bytes": memory}]
        method = MethodData(name, None, runs, [1], np.ones((1, 1)), [], [], [], 1)
        return Standing(method, Estimate(accuracy, 0, 1, 1, 1), None, False, None)

    found = Comparison([standing("a", 1e12, 0.4), standing("b", 2e12, 0.3), standing("c", 1e11, 0.1)], [], None, 0, [])
    figure = pareto_figure(found, looks_of(["a", "b", "c"]), ("flops", "accuracy"))
    assert figure is not None and figure.key == "pareto-flops-accuracy"
    assert "On the front: a, c. a 40.0% at 1T; b 30.0% at 2T" in figure.text
    assert pareto_figure(found, looks_of(["a", "b", "c"]), ("peak_memory_bytes", "accuracy")) is None


@pytest.mark.parametrize(
    ("text", "said"), [("flop,accuracy", "'flops'"), ("flops", "two different"), ("flops,flops", "two")]
)
def test_mistakes_are_one_sentence(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_meters(text)
