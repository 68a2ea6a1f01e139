"""How numbers look in reports: points, intervals, counts and times, the same in the terminal, Markdown and HTML."""

from __future__ import annotations

import math

from reports.statistics import Estimate

MISSING = "n/a"


def points(share: float | None) -> str:
    """0.371 -> 37.1"""
    return MISSING if share is None else f"{100 * share:.1f}"


def interval(value: Estimate, signed: bool = False) -> str:
    """37.1 [35.0, 39.2], in points."""
    sign = "+" if signed else ""
    mean, low, high = (_zero(100 * x) for x in (value.mean, value.low, value.high))
    return f"{mean:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def count(value: float | None) -> str:
    """1,096,576 -> 1.1M; 950 -> 950"""
    if value is None:
        return MISSING
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}" if abs(value) < 999.5 * size else f"{value / size:.0f}{letter}"
    return f"{value:.0f}"


def seconds(value: float | None) -> str:
    """41.3 -> 41 s; 5.2 -> 5.2 s; 4000 -> 1.1 h"""
    if value is None:
        return MISSING
    if value >= 3600:
        return f"{value / 3600:.1f} h"
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"


def megabytes(value: float | None) -> str:
    """Bytes as MB of 10^6."""
    return MISSING if value is None else f"{value / 1e6:,.0f} MB"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def setting(value: object) -> str:
    """A parameter's value, floats with three significant digits; of a list its parts: `countdown level L2, words`."""
    if isinstance(value, float) and not isinstance(value, bool) and math.isfinite(value):
        return f"{value:.3g}"
    if isinstance(value, list):
        return ", ".join(map(setting, value))
    if isinstance(value, dict):
        rest = [f"{key} {setting(part)}" for key, part in value.items() if key != "name"]
        return " ".join([*([setting(value["name"])] if "name" in value else []), *rest])
    return str(value)


def _zero(value: float) -> float:
    """No minus sign before 0.0."""
    return 0.0 if abs(value) < 0.05 else value
