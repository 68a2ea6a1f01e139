"""Reported beside measured: one row an arm that stands for a figure of a paper.

A figure is reproduced when the measured mean lies within the joint 95% margin of both: the interval of the measurement
on the side of the report, and 1.96 standard errors of the report (its spread over runs, else the binomial error of its
items). A margin of more than 5 points decides nothing; outside of it a figure is not reproduced. Settings that differ
make it not comparable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError
from reports.comparison import SEEDS_TO_RANK
from reports.numbers import interval, points
from reports.statistics import proportion
from reports.sweep_data import MethodData, read_sweep_data
from results.database import query

WIDEST = 0.05
"""The joint margin above which agreement says nothing."""
_SCALE = {"percent": 100.0, "share": 1.0, "ratio": 1.0}
Row = dict[str, Any]


@dataclass(frozen=True)
class Expected:
    """The arm of a sweep that stands for a reported figure, and why they cannot be compared, if so."""

    arm: str
    paper: str
    where: str
    model: str
    task: str
    method: str
    metric: str
    differs: str | None


def reproduction(database: Path, sweep: str, expected: list[Expected]) -> list[Row]:
    """`arm`, `reported`, `measured`, `verdict`, `remark` for every expected figure."""
    _, known = query(database, "SELECT sweep FROM sweeps")
    methods = read_sweep_data(database, sweep).methods if (sweep,) in known else []
    arms = {method.name: method for method in methods if method.runs}
    return [_row(database, one, arms.get(one.arm)) for one in expected]


def _row(database: Path, one: Expected, arm: MethodData | None) -> Row:
    value, error, certain = _reported(database, one)
    row: Row = {"arm": one.arm, "reported": points(value), "measured": None, "verdict": "not run", "remark": None}
    doubt = None if certain else "the reported figure is uncertain"
    if arm is None:
        return row | {"remark": one.differs or doubt}
    measured = proportion(arm.scores)
    row["measured"] = interval(measured)
    if one.differs is not None:
        return row | {"verdict": "not comparable", "remark": one.differs}
    if len(arm.seeds) < SEEDS_TO_RANK:
        return row | {"verdict": "inconclusive", "remark": f"{len(arm.seeds)} seeds, a verdict takes {SEEDS_TO_RANK}"}
    above, below = measured.high - measured.mean, measured.mean - measured.low
    margin = math.hypot(above if value > measured.mean else below, 1.96 * error)
    widest = math.hypot(max(above, below), 1.96 * error)
    apart = abs(measured.mean - value)
    verdict = "not reproduced" if apart > margin else "reproduced" if widest <= WIDEST else "inconclusive"
    remark = f"{100 * apart:.1f} points apart, margin {100 * margin:.1f}"
    return row | {"verdict": verdict, "remark": f"{remark}; {doubt}" if doubt else remark}


def _reported(database: Path, one: Expected) -> tuple[float, float, bool]:
    """The reported value as a share, its standard error and whether it is certain."""
    asked = (
        f"SELECT value, unit, spread, size, certain FROM reported WHERE paper = {_quoted(one.paper)} "
        f'AND "where" = {_quoted(one.where)} AND model = {_quoted(one.model)} AND task = {_quoted(one.task)} '
        f"AND method = {_quoted(one.method)} AND metric = {_quoted(one.metric)}"
    )
    _, rows = query(database, asked)
    if len(rows) != 1 or rows[0][1] not in _SCALE:
        raise UserError(
            f"{one.paper} reports no {one.metric} of {one.method!r} on {one.task} with {one.model} in {one.where}: "
            f'beyondrl query "SELECT * FROM reported WHERE paper = {_quoted(one.paper)}"'
        )
    value, unit, spread, size, certain = rows[0]
    share = value / _SCALE[unit]
    if spread is not None:
        return share, spread / _SCALE[unit], certain
    return share, math.sqrt(share * (1 - share) / size) if size else 0.0, certain


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
