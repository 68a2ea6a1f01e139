"""The figures of a report as SVG text: one panel each, in a row on a desk and in a column on a phone.

A method keeps its colour, marker and place through all figures, so none is read by colour alone. The same data gives
the same bytes: no dates, fixed identifiers.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter

from reports.comparison import BASELINE, Comparison, Standing
from reports.numbers import count
from reports.sweep_data import MethodData, SweepData

_COLOURS = ("#444444", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B")  # Okabe & Ito
_MARKERS = ("s", "o", "^", "D", "v", "P", "X", "*")
_STYLE = {
    "svg.hashsalt": "beyondrl",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
}


@dataclass(frozen=True)
class Figure:
    """`key` names the file; `text` is the alternative for who cannot see it."""

    key: str
    text: str
    svg: str


def draw_figures(data: SweepData, comparison: Comparison) -> list[Figure]:
    """Every figure that the data has something to show for."""
    if not comparison.standings:
        return []
    looks = {
        method.name: (_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)]) for i, method in enumerate(data.methods)
    }
    found = [_accuracy(comparison, looks)]
    found += [figure for axis in _COST_AXES if (figure := _learning(data, looks, *axis)) is not None]
    found += [_cost(comparison, looks, *axis) for axis in _COST_AXES[:2]]
    found += [figure for figure in (_retention(comparison, looks),) if figure is not None]
    best = _best_so_far(data, looks)
    return [*found, best] if best is not None else found


_COST_AXES = (
    ("device_seconds", "time", "training and generation time of a run, s"),
    ("flops", "operations", "floating-point operations of a run"),
    ("generated_tokens", "generated tokens", "generated tokens of a run"),
)
_Looks = dict[str, tuple[str, str]]


def _accuracy(comparison: Comparison, looks: _Looks) -> Figure:
    standings = comparison.standings[::-1]
    with _panel("accuracy", "Final accuracy with 95% intervals", 0.9 + 0.42 * len(standings)) as (axes, done):
        for row, one in enumerate(standings):
            colour, marker = looks[one.method.name]
            mean, low, high = (100 * x for x in (one.accuracy.mean, one.accuracy.low, one.accuracy.high))
            axes.plot([low, high], [row, row], color=colour, linewidth=2)
            axes.plot(mean, row, marker, color=colour, markersize=7)
            seeds = [100 * float(seed.mean()) for seed in one.method.scores]
            axes.plot(seeds, [row - 0.27] * len(seeds), "|", color=colour, markersize=6)
            axes.annotate(f"{mean:.1f}", (mean, row), (0, 7), textcoords="offset points", ha="center", fontsize=8)
        axes.set_yticks(range(len(standings)), [one.method.name for one in standings])
        axes.set_ylim(-0.6, len(standings) - 0.3)
        axes.set_xlabel("accuracy, % (small strokes: single seeds)")
        _mark_base(axes, comparison, vertical=True)
        axes.set_xlim(left=0)
    return done("; ".join(f"{s.method.name} {100 * s.accuracy.mean:.1f}%" for s in comparison.standings))


def _learning(data: SweepData, looks: _Looks, column: str, short: str, label: str) -> Figure | None:
    """Accuracy on val along the runs, mean over seeds at each point of the curve."""
    drawn = [(m, points) for m in data.methods if (points := _mean_curve(m, column)) and points[-1][0] > 0]
    if not drawn:
        return None
    silent = [m.name for m in data.methods if m.curve and m.name not in {one.name for one, _ in drawn}]
    with _panel(f"learning-{column.replace('_', '-')}", f"Accuracy on val by {short}") as (axes, done):
        for method, points in drawn:
            colour, marker = looks[method.name]
            x, y = [p[0] for p in points], [100 * p[1] for p in points]
            axes.plot(x, y, marker=marker, color=colour, markersize=4.5, linewidth=1.6, label=method.name)
        axes.set_xlabel(label + (f"\n({', '.join(silent)}: none)" if silent else ""))
        axes.set_ylabel("accuracy, %")
        axes.set_ylim(bottom=0)
        _counted(axes, column)
        axes.legend(frameon=False, fontsize=8)
    return done("; ".join(f"{m.name} ends at {100 * p[-1][1]:.1f}% after {count(p[-1][0])}" for m, p in drawn))


def _cost(comparison: Comparison, looks: _Looks, column: str, short: str, label: str) -> Figure:
    """Accuracy on test against the cost of one final run, and (hollow) with its share of the tuning."""
    with _panel(f"cost-{column.replace('_', '-')}", f"Final accuracy against {short}") as (axes, done):
        for one in comparison.standings:
            colour, marker = looks[one.method.name]
            alone, tuned = _costs(one, column)
            y = 100 * one.accuracy.mean
            axes.plot([alone, tuned], [y, y], ":", color=colour, linewidth=1)
            axes.plot(tuned, y, marker, color=colour, markerfacecolor="white", markersize=6)
            axes.plot(alone, y, marker, color=colour, markersize=7, label=one.method.name)
        front = _front([(_costs(one, column)[0], 100 * one.accuracy.mean) for one in comparison.standings])
        axes.plot(*zip(*front, strict=True), color="#999999", linewidth=1, drawstyle="steps-post", zorder=0)
        axes.set_xlabel(f"{label}\n(hollow: with all its tuning; grey: the best at that cost)")
        axes.set_ylabel("accuracy, %")
        axes.set_ylim(bottom=0)
        _counted(axes, column)
        axes.legend(frameon=False, fontsize=8)
    costs = [(s.method.name, 100 * s.accuracy.mean, count(_costs(s, column)[0])) for s in comparison.standings]
    return done("; ".join(f"{name} {score:.1f}% at {cost}" for name, score, cost in costs))


def _retention(comparison: Comparison, looks: _Looks) -> Figure | None:
    """Gain on the task against the mean change on the probes: up and to the right is better."""
    drawn = []
    for one in comparison.standings:
        changes = [r["after"] - r["before"] for r in one.method.retention if r["measure"] == "accuracy"]
        if changes and one.versus_base is not None:
            kept = 100 * sum(changes) / len(changes)
            drawn.append((one.method.name, kept, 100 * one.versus_base.difference.mean))
    if not drawn:
        return None
    with _panel("retention", "Gained and kept") as (axes, done):
        for name, kept, gained in drawn:
            colour, marker = looks[name]
            axes.plot(kept, gained, marker, color=colour, markersize=7, label=name)
        axes.axvline(0, color="#444444", linestyle="--", linewidth=0.8, zorder=0)
        axes.axhline(0, color="#444444", linestyle="--", linewidth=0.8, zorder=0)
        axes.set_xlabel("mean change of accuracy on the probes, points")
        axes.set_ylabel("gain on the task over base, points")
        axes.legend(frameon=False, fontsize=8)
    return done("; ".join(f"{name} {gained:+.1f} at {kept:+.1f}" for name, kept, gained in drawn))


def _best_so_far(data: SweepData, looks: _Looks) -> Figure | None:
    """The best score on val after each trial, against what tuning has cost so far (Dodge et al. 2019)."""
    tuned = [method for method in data.methods if any(trial["value"] is not None for trial in method.trials)]
    if not tuned:
        return None
    with _panel("tuning", "Best trial so far, on val") as (axes, done):
        for method in tuned:
            colour, marker = looks[method.name]
            cost, best, x, y = 0.0, 0.0, [], []
            for trial in method.trials:
                cost += trial["device_seconds"] or 0.0
                best = max(best, trial["value"] or 0.0)
                x.append(cost)
                y.append(100 * best)
            axes.plot(x, y, marker=marker, color=colour, markersize=4.5, drawstyle="steps-post", label=method.name)
        axes.set_xlabel("training and generation time of all trials, s")
        axes.set_ylabel("accuracy, %")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=8)
    return done("best score on val against tuning time, one line a method")


def _mean_curve(method: MethodData, column: str) -> list[tuple[float, float]]:
    """(mean cost, mean accuracy) at each point that every finished seed reached."""
    by_point: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in method.curve:
        by_point.setdefault((row["stage"], row["point"]), []).append(row)
    whole = [rows for _, rows in sorted(by_point.items()) if len(rows) == len(method.seeds)]
    return [(_mean(rows, column), _mean(rows, "accuracy")) for rows in whole]


def _mean(rows: Sequence[dict[str, Any]], column: str) -> float:
    return float(sum(row[column] for row in rows) / len(rows))


def _costs(one: Standing, column: str) -> tuple[float, float]:
    alone = _mean(one.method.runs, column)
    return alone, alone + float(sum(trial[column] or 0.0 for trial in one.method.trials))


def _front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no cheaper or equally cheap one beats, by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda p: (p[0], -p[1])):
        if not front or score > front[-1][1]:
            front.append((cost, score))
    return front


def _mark_base(axes: Axes, comparison: Comparison, vertical: bool) -> None:
    for one in comparison.standings:
        if one.method.name == BASELINE and vertical:
            axes.axvline(100 * one.accuracy.mean, color="#444444", linestyle="--", linewidth=0.8, zorder=0)


def _counted(axes: Axes, column: str) -> None:
    if column != "device_seconds":
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))


@contextmanager
def _panel(key: str, title: str, height: float = 3.1) -> Iterator[tuple[Axes, Any]]:
    """Axes of one figure, and a function that turns them into a `Figure` once they are drawn."""
    with matplotlib.rc_context(_STYLE):
        canvas = Canvas(figsize=(4.4, height), layout="constrained")
        axes = canvas.add_subplot()
        axes.set_title(title)
        text = io.StringIO()

        def done(summary: str) -> Figure:
            return Figure(key, f"{title}. {summary}.", text.getvalue())

        yield axes, done
        canvas.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
