"""Figures for more methods than one panel can tell apart: small panels side by side, and a row a method.

In a small panel one method stands out and all others are grey behind it, on the same scales. Rows are in the order of
the leaderboard.
"""

from __future__ import annotations

from math import ceil

from matplotlib.axes import Axes

from reports.comparison import Comparison
from reports.curves import band, costs, front, mean_curve
from reports.numbers import count
from reports.panel import Figure, counted, grid, panel
from reports.sweep_data import MethodData, SweepData

_COLUMNS = 5
_SHOWN, _BEST, _BEHIND = "#0072B2", "#D55E00", "#d0d0d0"


def learning_panels(data: SweepData, column: str, short: str, label: str) -> Figure | None:
    """Accuracy on val along the runs, a small panel for each method."""
    drawn = {m.name: points for m in data.methods if (points := mean_curve(m, column)) and points[-1][0] > 0}
    if not drawn:
        return None
    by_name = {method.name: method for method in data.methods}
    rows = ceil(len(drawn) / _COLUMNS)
    title = f"Accuracy on val by {short}"
    with grid(f"learning-{column.replace('_', '-')}", title, rows, _COLUMNS, (10.5, 0.8 + 1.35 * rows)) as parts:
        canvas, every, done = parts
        for axes, (name, points) in zip(every, drawn.items(), strict=False):
            for other in drawn.values():
                axes.plot([p[0] for p in other], [100 * p[1] for p in other], color=_BEHIND, linewidth=0.8, zorder=1)
            axes.plot([p[0] for p in points], [100 * p[1] for p in points], "o-", color=_SHOWN, markersize=3, zorder=2)
            seeds = band(by_name[name], column)
            low, high = [100 * one[1] for one in seeds], [100 * one[2] for one in seeds]
            axes.fill_between([one[0] for one in seeds], low, high, color=_SHOWN, alpha=0.2, linewidth=0)
            axes.set_title(name, fontsize=9)
            axes.set_ylim(bottom=0)
            axes.tick_params(labelsize=8, labelbottom=True)
            counted(axes, column)
        for axes in every[len(drawn) :]:
            axes.remove()
        canvas.suptitle(f"{title}: each method before all others", x=0.0, ha="left", fontsize=10, fontweight="bold")
        canvas.supxlabel(label, fontsize=9)
        canvas.supylabel("accuracy, %", fontsize=9)
    return done("; ".join(f"{name} ends at {100 * p[-1][1]:.1f}% after {count(p[-1][0])}" for name, p in drawn.items()))


def cost_rows(comparison: Comparison, column: str, short: str, label: str) -> Figure:
    """What one final run cost, and with all its tuning; marked where no cheaper method was as accurate."""
    standings = comparison.standings[::-1]
    best = set(front([(costs(one, column)[0], one.accuracy.mean) for one in standings]))
    key, title = f"cost-{column.replace('_', '-')}", f"Cost in {short}"
    with panel(key, title, 0.9 + 0.22 * len(standings)) as (axes, done):
        for row, one in enumerate(standings):
            alone, tuned = costs(one, column)
            colour = _BEST if (alone, one.accuracy.mean) in best else _SHOWN
            axes.plot([alone, tuned], [row, row], ":", color=colour, linewidth=1)
            axes.plot(tuned, row, "o", color=colour, markerfacecolor="white", markersize=5)
            axes.plot(alone, row, "D" if colour == _BEST else "o", color=colour, markersize=5)
        _names(axes, [f"{one.method.name}  {100 * one.accuracy.mean:.1f}%" for one in standings])
        axes.set_xlabel(f"{label}\n(hollow: with all its tuning;\norange: nothing cheaper is as accurate)")
        axes.set_xlim(left=0)
        counted(axes, column)
    each = [(s.method.name, 100 * s.accuracy.mean, count(costs(s, column)[0])) for s in comparison.standings]
    return done("; ".join(f"{name} {score:.1f}% at {cost}" for name, score, cost in each))


def tuning_rows(data: SweepData) -> Figure | None:
    """What tuning brought on val: the first trial, which has the method's defaults, and the best."""
    tuned = [(method, values) for method in data.methods if (values := _values(method))]
    if not tuned:
        return None
    tuned.sort(key=lambda pair: max(pair[1]))
    with panel("tuning", "What tuning brought, on val", 0.9 + 0.22 * len(tuned)) as (axes, done):
        for row, (_, values) in enumerate(tuned):
            axes.plot([100 * values[0], 100 * max(values)], [row, row], color=_SHOWN, linewidth=1.5)
            axes.plot(100 * values[0], row, "o", color=_SHOWN, markerfacecolor="white", markersize=5)
            axes.plot(100 * max(values), row, "o", color=_SHOWN, markersize=5)
        _names(axes, [f"{method.name}  {len(values)}" for method, values in tuned])
        axes.set_xlabel(
            "accuracy, %\n(hollow: first trial; filled: best of as many\ntrials as the number beside the name)"
        )
        axes.set_xlim(left=0)
    return done("; ".join(f"{m.name} {100 * v[0]:.1f}% to {100 * max(v):.1f}%" for m, v in reversed(tuned)))


def _values(method: MethodData) -> list[float]:
    return [trial["value"] for trial in method.trials if trial["value"] is not None]


def _names(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(-0.7, len(names) - 0.3)
