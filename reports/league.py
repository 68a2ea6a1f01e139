"""The report across tasks: `beyondrl report A B C --name league`, one page over sweeps on different tasks.

Interquartile means of the gain over base, how likely each method is to improve on each other one, performance profiles,
and every task's own accuracies (Agarwal et al. 2021, arXiv 2108.13264). From the database alone, the same bytes always.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.atomic import write_text
from reports.aggregates import Interval, bootstrapped, interquartile_mean, probability_of_improvement, profile_band
from reports.build import Report
from reports.claim_rows import claims_across
from reports.comparison import BASELINE
from reports.league_data import League, read_league
from reports.numbers import interval
from reports.pages import write_page
from reports.panel import Figure, grid, looks_of, panel
from reports.statistics import Estimate, proportion
from reports.table_files import write_tables
from reports.tables import Table

_COLUMNS, _FEW = 5, 8


def write_league(
    database: Path, sweeps: list[str], name: str, out: Path, tables: bool = False, notes: Sequence[str] = ()
) -> Report:
    """Write `<out>/<name>.html`, `<out>/<name>.md` and `<out>/<name>/` with figures; UserError where it cannot be.

    `notes` are remarks of whoever publishes it, shown as that.
    """
    league = read_league(database, sweeps)
    order = sorted(range(len(league.methods)), key=lambda m: -_middle(league, m).value)
    parts = {
        "aggregate": _aggregate(league, order),
        "improvement": _improvement(league, order),
        "each": _each(league, order),
        "claims": claims_across(league.sweeps, league.tasks),
    }
    figures = [_profiles(league, order)]
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        write_text(folder / f"{figure.key}.svg", figure.svg)
    if tables:
        write_tables(parts, folder / "tables")
    page = {
        **parts,
        "name": name,
        "title": f"Across {len(league.tasks)} tasks: {len(league.methods)} methods and the untouched base",
        "headline": f"{', '.join(league.tasks)} · {len(league.seeds)} seeds a method and task",
        "sentences": _sentences(league, order),
        "figures": figures,
        "left_out": league.left_out,
        "sweeps": [data.sweep["sweep"] for data in league.sweeps],
        "notes": notes,
        "command": shlex.join(
            ["beyondrl", "report", *(d.sweep["sweep"] for d in league.sweeps), "--name", name]
            + [part for note in notes for part in ("--note", note)]
        ),
    }
    report = Report(out / f"{name}.html", out / f"{name}.md")
    write_page(report.html, "league.html.j2", page)
    write_page(report.markdown, "league.md.j2", page)
    return report


def _middle(league: League, method: int) -> Interval:
    return bootstrapped(interquartile_mean, league.gains[method])


def _aggregate(league: League, order: list[int]) -> Table:
    rows = []
    for method in order:
        gains = league.gains[method]
        mean = bootstrapped(lambda scores: scores.mean(axis=(-2, -1)), gains)
        worst = int(gains.mean(axis=0).argmin())
        rows.append(
            [
                league.methods[method],
                _shown(_middle(league, method)),
                _shown(mean),
                f"{float(np.median(gains.mean(axis=0))):+.1f}",
                f"{gains.mean(axis=0)[worst]:+.1f} ({league.tasks[worst]})",
            ]
        )
    note = (
        "Gain over the untouched base in points of accuracy, over all runs and tasks: its interquartile mean (the mean "
        "of the middle half), mean, median of the tasks' means, and its worst task. Intervals are of a bootstrap (95%) "
        "that draws the runs of each task anew, widened for few runs: they speak of other runs on these tasks, not of "
        "other tasks. Gains are not divided by the best one seen: such shares change whenever a method is added, and "
        "blow up noise on a task where nothing gains."
    )
    columns = ["method", "interquartile mean", "mean", "median task", "worst task"]
    return Table("Gain over base across tasks", columns, rows, note, frozenset({"method", "worst task"}))


def _improvement(league: League, order: list[int]) -> Table:
    rows = []
    for method in order:
        cells = [league.methods[method]]
        for other in order:
            if method == other:
                cells.append("")
                continue
            found = bootstrapped(probability_of_improvement, league.gains[method], league.gains[other])
            cells.append(f"{found.value:.2f}\n[{found.low:.2f}, {found.high:.2f}]")
        rows.append(cells)
    note = (
        "How likely a run of the row's method scores above one of the column's on a task drawn from these; a tie is "
        "half a win. An interval above 0.5 says that the row is ahead more often than not; it says nothing about by "
        "how much, [1, 1] that no runs overlap, and the pairs are not adjusted for their number."
    )
    names = [league.methods[method] for method in order]
    return Table("Probability of improvement", ["method", *names], rows, note)


def _each(league: League, order: list[int]) -> Table:
    rows = []
    for name in [*(league.methods[method] for method in order), BASELINE]:
        cells = [name]
        for data in league.sweeps:
            (method,) = (one for one in data.methods if one.name == name)
            cells.append(interval(proportion(method.scores)))
        rows.append(cells)
    note = "Accuracy in per cent with its 95% interval over seeds and items, as in the report of each sweep."
    return Table("Every task", ["method", *league.tasks], rows, note)


def _profiles(league: League, order: list[int]) -> Figure:
    ends = min(0.0, float(league.gains.min())) - 1, float(league.gains.max()) + 1
    taus = np.union1d(np.linspace(*ends, 101), 0.0)
    looks = looks_of(league.methods)
    drawn = [(league.methods[method], *profile_band(league.gains[method], taus)) for method in order]
    label = "gain over base, points"
    said = "; ".join(
        f"{league.methods[method]} gains anything in {100 * float((league.gains[method] > 0).mean()):.0f}%"
        for method in order
    )
    if len(drawn) <= _FEW:
        with panel("profiles", "Share of runs that gain more", 3.4) as (axes, done):
            for name, line, low, high in drawn:
                axes.plot(taus, 100 * line, color=looks[name][0], label=name, drawstyle="steps-post")
                axes.fill_between(
                    taus, 100 * low, 100 * high, color=looks[name][0], alpha=0.15, step="post", linewidth=0
                )
            axes.set_xlabel(label)
            axes.set_ylabel("runs over all tasks, %")
            axes.legend(frameon=False, fontsize=8)
        return done(said)
    rows = -(-len(drawn) // _COLUMNS)
    with grid("profiles", "Share of runs that gain more", rows, _COLUMNS, (10.5, 0.8 + 1.35 * rows)) as found:
        canvas, every, done = found
        for axes, (name, line, low, high) in zip(every, drawn, strict=False):
            for _, other, _, _ in drawn:
                axes.plot(taus, 100 * other, color="#d0d0d0", linewidth=0.8, zorder=1)
            axes.fill_between(taus, 100 * low, 100 * high, color="#0072B2", alpha=0.2, step="post", linewidth=0)
            axes.plot(taus, 100 * line, color="#0072B2", drawstyle="steps-post", zorder=2)
            axes.set_title(name, fontsize=9)
            axes.tick_params(labelsize=8, labelbottom=True)
        for axes in every[len(drawn) :]:
            axes.remove()
        canvas.supxlabel(label, fontsize=9)
        canvas.supylabel("runs over all tasks, %", fontsize=9)
    return done(said)


def _sentences(league: League, order: list[int]) -> list[str]:
    first = _middle(league, order[0])
    found = [
        f"{league.methods[order[0]]} has the highest interquartile mean of the gain over base: {_shown(first)} points."
    ]
    unsure = []
    for other in order[1:]:
        ahead = bootstrapped(probability_of_improvement, league.gains[order[0]], league.gains[other])
        if ahead.low <= 0.5:
            unsure.append(f"{league.methods[other]} ({ahead.value:.2f} [{ahead.low:.2f}, {ahead.high:.2f}])")
    if unsure:
        found.append(f"It is not surely ahead, in the probability of improvement, of {', '.join(unsure)}.")
    if league.differences:
        found.append(f"The sweeps have {' and '.join(league.differences)}: read the tasks' columns first.")
    return found


def _shown(value: Interval) -> str:
    return interval(Estimate(value.value / 100, value.low / 100, value.high / 100, 0.0, 0.0), signed=True)
