"""The figures of a report as SVG text: one panel each, in a row on a desk and in a column on a phone.

Up to eight methods share one panel; more are drawn in rows or in small panels of their own (`reports.figures_of_many`).
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from reports.comparison import BASELINE, Comparison
from reports.curves import band, costs, front, mean_curve
from reports.figures_of_many import cost_rows, learning_panels, tuning_rows
from reports.importance import slices
from reports.numbers import count
from reports.panel import COST_AXES, Figure, Looks, counted, looks_of, panel
from reports.pareto import pareto_figure
from reports.sweep_data import SweepData

FEW = 8
"""Methods that one panel can tell apart."""


def draw_figures(data: SweepData, comparison: Comparison, fronts: Sequence[tuple[str, str]] = ()) -> list[Figure]:
    """Every figure that the data has something to show for, and a front for each of the given pairs of meters."""
    if not comparison.standings:
        return []
    looks = looks_of([method.name for method in data.methods])
    found: list[Figure | None] = [_accuracy(comparison, looks)]
    if len(data.methods) > FEW:
        limited = [axis for axis in COST_AXES if axis[0] in data.sweep["budget"]] or [COST_AXES[1]]
        found += [learning_panels(data, *axis) for axis in limited]
        found += [cost_rows(comparison, *axis) for axis in COST_AXES if axis[0] not in data.sweep["budget"]]
        found.append(tuning_rows(data))
    else:
        found += [_learning(data, looks, *axis) for axis in COST_AXES]
        found += [*(_cost(comparison, looks, *axis) for axis in COST_AXES[:2]), _best_so_far(data, looks)]
    found += [_retention(comparison, looks), slices(data)]
    found += [pareto_figure(comparison, looks, meters) for meters in fronts]
    return [figure for figure in found if figure is not None]


def _accuracy(comparison: Comparison, looks: Looks) -> Figure:
    standings = comparison.standings[::-1]
    with panel("accuracy", "Final accuracy with 95% intervals", 0.9 + 0.42 * len(standings)) as (axes, done):
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


def _learning(data: SweepData, looks: Looks, column: str, short: str, label: str) -> Figure | None:
    """Accuracy on val along the runs, mean over seeds at each point of the curve."""
    drawn = [(m, points) for m in data.methods if (points := mean_curve(m, column)) and points[-1][0] > 0]
    if not drawn:
        return None
    silent = [m.name for m in data.methods if m.curve and m.name not in {one.name for one, _ in drawn}]
    with panel(f"learning-{column.replace('_', '-')}", f"Accuracy on val by {short}") as (axes, done):
        for method, points in drawn:
            colour, marker = looks[method.name]
            x, y = [p[0] for p in points], [100 * p[1] for p in points]
            axes.plot(x, y, marker=marker, color=colour, markersize=4.5, linewidth=1.6, label=method.name)
            seeds = band(method, column)
            low, high = [100 * one[1] for one in seeds], [100 * one[2] for one in seeds]
            axes.fill_between([one[0] for one in seeds], low, high, color=colour, alpha=0.12, linewidth=0)
        axes.set_xlabel(label + (f"\n({', '.join(silent)}: none)" if silent else ""))
        axes.set_ylabel("accuracy, %")
        axes.set_ylim(bottom=0)
        counted(axes, column)
        axes.legend(frameon=False, fontsize=8)
    return done("; ".join(f"{m.name} ends at {100 * p[-1][1]:.1f}% after {count(p[-1][0])}" for m, p in drawn))


def _cost(comparison: Comparison, looks: Looks, column: str, short: str, label: str) -> Figure:
    """Accuracy on test against the cost of one final run, and (hollow) with its share of the tuning."""
    with panel(f"cost-{column.replace('_', '-')}", f"Final accuracy against {short}") as (axes, done):
        for one in comparison.standings:
            colour, marker = looks[one.method.name]
            alone, tuned = costs(one, column)
            y = 100 * one.accuracy.mean
            axes.plot([alone, tuned], [y, y], ":", color=colour, linewidth=1)
            axes.plot(tuned, y, marker, color=colour, markerfacecolor="white", markersize=6)
            axes.plot(alone, y, marker, color=colour, markersize=7, label=one.method.name)
        best = front([(costs(one, column)[0], 100 * one.accuracy.mean) for one in comparison.standings])
        axes.plot(*zip(*best, strict=True), color="#999999", linewidth=1, drawstyle="steps-post", zorder=0)
        axes.set_xlabel(f"{label}\n(hollow: with all its tuning; grey: the best at that cost)")
        axes.set_ylabel("accuracy, %")
        axes.set_ylim(bottom=0)
        counted(axes, column)
        axes.legend(frameon=False, fontsize=8)
    each = [(s.method.name, 100 * s.accuracy.mean, count(costs(s, column)[0])) for s in comparison.standings]
    return done("; ".join(f"{name} {score:.1f}% at {cost}" for name, score, cost in each))


def _retention(comparison: Comparison, looks: Looks) -> Figure | None:
    """Gain on the task against the mean change on the probes: up and to the right is better."""
    drawn = []
    for one in comparison.standings:
        changes = [r["after"] - r["before"] for r in one.method.retention if r["measure"] == "accuracy"]
        if changes and one.versus_base is not None:
            kept = 100 * sum(changes) / len(changes)
            drawn.append((one.method.name, kept, 100 * one.versus_base.difference.mean))
    if not drawn:
        return None
    with panel("retention", "Gained and kept") as (axes, done):
        for name, kept, gained in drawn:
            colour, marker = looks[name]
            axes.plot(kept, gained, marker, color=colour, markersize=7, label=name)
        axes.axvline(0, color="#444444", linestyle="--", linewidth=0.8, zorder=0)
        axes.axhline(0, color="#444444", linestyle="--", linewidth=0.8, zorder=0)
        axes.set_xlabel("mean change of accuracy on the probes, points")
        axes.set_ylabel("gain on the task over base, points")
        if len(drawn) > FEW:
            axes.legend(frameon=False, fontsize=7, ncols=2, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        else:
            axes.legend(frameon=False, fontsize=8)
    return done("; ".join(f"{name} {gained:+.1f} at {kept:+.1f}" for name, kept, gained in drawn))


def _best_so_far(data: SweepData, looks: Looks) -> Figure | None:
    """The best score on val after each trial, against what tuning has cost so far (Dodge et al. 2019)."""
    tuned = [method for method in data.methods if any(trial["value"] is not None for trial in method.trials)]
    if not tuned:
        return None
    with panel("tuning", "Best trial so far, on val") as (axes, done):
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


def _mark_base(axes: Axes, comparison: Comparison, vertical: bool) -> None:
    for one in comparison.standings:
        if one.method.name == BASELINE and vertical:
            axes.axvline(100 * one.accuracy.mean, color="#444444", linestyle="--", linewidth=0.8, zorder=0)
