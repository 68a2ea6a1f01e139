"""A report of more methods than one panel can tell apart: every method is in every figure, and nothing collapses."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.comparison import compare
from reports.figures import FEW, draw_figures
from reports.headline import title
from reports.panel import Figure, looks_of
from reports.sweep_data import SweepData, read_sweep_data
from reports.verdict import verdict
from results.ingest import ingest

NAMES = [f"method-{number}" for number in range(FEW + 12)]


@pytest.fixture(scope="module")
def data(swept: Path, tmp_path_factory: pytest.TempPathFactory) -> SweepData:
    """The small sweep with its sft many times over, under other names and with other costs."""
    path = tmp_path_factory.mktemp("database") / "small.duckdb"
    ingest(swept, path)
    read = read_sweep_data(path, "small")
    (sft,) = [method for method in read.methods if method.name == "sft"]

    def dearer(rows: list[dict[str, Any]], times: int) -> list[dict[str, Any]]:
        return [{**row, "device_seconds": (row["device_seconds"] or 0) * times} for row in rows]

    many = [replace(sft, name=name, runs=dearer(sft.runs, 1 + place)) for place, name in enumerate(NAMES)]
    return replace(read, methods=[*(m for m in read.methods if m.name == "base"), *many])


@pytest.fixture(scope="module")
def figures(data: SweepData) -> dict[str, Figure]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib says so when a layout has no room left
        return {figure.key: figure for figure in draw_figures(data, compare(data))}


def test_every_method_is_in_every_figure(figures: dict[str, Figure]) -> None:
    assert {"accuracy", "cost-device-seconds", "tuning"} <= set(figures)
    assert any(key.startswith("learning") for key in figures)
    for figure in figures.values():
        assert all(f"{name} " in figure.text for name in NAMES), figure.key


def test_learning_has_a_panel_a_method_and_a_row_of_the_page(figures: dict[str, Figure]) -> None:
    (learning,) = [figure for key, figure in figures.items() if key.startswith("learning")]
    assert learning.wide and learning.svg.count('id="axes_') == len(NAMES)
    assert not figures["accuracy"].wide


def test_cost_marks_what_nothing_cheaper_reaches(figures: dict[str, Figure]) -> None:
    """All are as accurate: it is the untouched base and the first, or the base alone where training gained nothing."""
    marked = figures["cost-device-seconds"].svg.count("#d55e00")
    assert 0 < marked < figures["cost-device-seconds"].svg.count("#0072b2")


def test_no_two_methods_look_alike() -> None:
    assert len(set(looks_of([str(number) for number in range(60)]).values())) == 60


def test_words_stay_few(data: SweepData) -> None:
    assert title(data).endswith(f": {len(NAMES) + 1} methods")
    first = verdict(compare(data))[0]
    assert first.count("difference") <= 5 and "others" in first
