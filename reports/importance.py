"""Which settings mattered in tuning, and where the good values lay: importance by Optuna, and a slice a setting.

A study is rebuilt from the trials in the database, with ranges that are the values' own extremes (on a log scale where
they span a factor of ten or more), and judged by functional ANOVA (Hutter et al. 2014, ICML; optuna.importance) with a
fixed seed: the share of the variance of the scores on val that a setting explains by itself or with others. Fewer
trials than `TRIALS` say nothing about importance: such a method is named and not judged.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import Any

from reports.numbers import setting
from reports.panel import Figure, grid
from reports.sweep_data import MethodData, SweepData
from reports.tables import Table

TRIALS = 10
_COLUMNS = 4
_TREES, _FEWEST, _FOREST = 64, 8, 3200  # trees, the fewest, and trees times trials


def importance(data: SweepData) -> Table:
    """A row a method and setting, the most important first; no rows where no method had enough trials."""
    rows, few = [], []
    for method in data.methods:
        trials = scored(method)
        if len(trials) < TRIALS:
            few += [f"{method.name} ({len(trials)})"] if trials else []
            continue
        best = max(trials, key=lambda trial: trial["value"])
        for name, share in importances(method).items():
            values = [json.loads(trial["parameters"])[name] for trial in trials]
            shown = [setting(min(values)), setting(max(values))] if _is_number(values[0]) else ["", ""]
            chosen = setting(json.loads(best["parameters"])[name])
            rows.append([method.name, name, f"{share:.2f}", *shown, chosen, str(len(trials))])
    note = (
        "Share of the variance of the trials' scores on val that a setting explains (functional ANOVA on a forest over "
        "the finished trials). It says what the search was sensitive to inside the range it tried, and is rough below "
        "some 30 trials."
    )
    if few:
        note += f" Too few scored trials (below {TRIALS}): {', '.join(few)}."
    columns = ["method", "setting", "importance", "lowest tried", "highest tried", "of the best", "trials"]
    return Table("What tuning was sensitive to", columns, rows, note, frozenset({"method", "setting"}))


def importances(method: MethodData) -> dict[str, float]:
    """Setting to share, the largest first; empty where trials differ in nothing or all scored the same."""
    return dict(_shares(tuple((trial["parameters"], trial["value"]) for trial in scored(method))))


@lru_cache(maxsize=256)
def _shares(trials: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
    """Shares of trials that are given as the JSON of their settings and their score; a table and a figure ask for it.

    A setting that alone was varied explains everything. A forest has fewer trees where trials are many: `_TREES` of
    them up to `_FOREST` / `_TREES` trials, `_FEWEST` at least.
    """
    given = [(json.loads(parameters), value) for parameters, value in trials]
    distributions = _distributions([parameters for parameters, _ in given])
    if not distributions or len({value for _, value in given}) < 2:
        return ()
    if len(distributions) == 1:
        return tuple((name, 1.0) for name in distributions)
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    for parameters, value in given:
        study.add_trial(
            optuna.trial.create_trial(
                params={name: parameters[name] for name in distributions}, distributions=distributions, value=value
            )
        )
    trees = max(_FEWEST, min(_TREES, _FOREST // len(given)))
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=trees, seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return tuple(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def slices(data: SweepData) -> Figure | None:
    """Score on val against each setting's value, a small panel a method and setting; None without enough trials."""
    drawn = [
        (method, name)
        for method in data.methods
        if len(scored(method)) >= TRIALS
        for name in list(importances(method))[:_COLUMNS]
    ]
    if not drawn:
        return None
    rows = math.ceil(len(drawn) / _COLUMNS)
    title = "Trials by setting"
    with grid("slices", title, rows, _COLUMNS, (10.5, 0.8 + 1.8 * rows), shared="y") as (canvas, every, done):
        for axes, (method, name) in zip(every, drawn, strict=False):
            trials = scored(method)
            values = [json.loads(trial["parameters"])[name] for trial in trials]
            numbers = _is_number(values[0])
            x = values if numbers else [str(value) for value in values]
            axes.plot(x, [100 * trial["value"] for trial in trials], "o", color="#0072B2", markersize=3.5)
            if numbers and _is_log(values):
                low, high = min(values), max(values)
                axes.set_xscale("log")
                axes.minorticks_off()
                axes.set_xticks(
                    [low, math.sqrt(low * high), high], [f"{x:.2g}" for x in (low, math.sqrt(low * high), high)]
                )
            elif not numbers:
                axes.margins(x=0.25)
            axes.set_title(f"{method.name}: {name}", fontsize=8)
            axes.tick_params(labelsize=8)
        for axes in every[len(drawn) :]:
            axes.remove()
        canvas.suptitle(f"{title}: accuracy on val, %", x=0.0, ha="left", fontsize=10, fontweight="bold")
    return done("; ".join(f"{method.name} {name}" for method, name in drawn))


def scored(method: MethodData) -> list[dict[str, Any]]:
    """The trials with a score, in order."""
    return [trial for trial in method.trials if trial["value"] is not None and trial["state"] != "pruned"]


def _distributions(given: list[dict[str, Any]]) -> dict[str, Any]:
    """Ranges of the settings in which trials differ."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for name in sorted(set.intersection(*(set(one) for one in given)) if given else ()):
        values = [one[name] for one in given]
        if len({json.dumps(value) for value in values}) < 2:
            continue
        low_high = (min(values), max(values)) if all(_is_number(value) for value in values) else None
        if low_high is None:
            found[name] = CategoricalDistribution(sorted({v for v in values}, key=str))
        elif all(isinstance(value, int) for value in values):
            found[name] = IntDistribution(*low_high, log=_is_log(values))
        else:
            found[name] = FloatDistribution(*map(float, low_high), log=_is_log(values))
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_log(values: list[Any]) -> bool:
    return min(values) > 0 and max(values) / min(values) >= 10
