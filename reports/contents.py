"""The tables of a comparison report, each built from the sweep's data: cells as text, notes as sentences."""

from __future__ import annotations

import json
from typing import Any

from harness.training import Training
from reports.comparison import Comparison
from reports.numbers import MISSING, count, interval, megabytes, p_value, points, seconds, setting
from reports.sweep_data import MethodData, SweepData
from reports.tables import Table


def leaderboard(comparison: Comparison) -> Table:
    """Rank, accuracy and difference from base; the costs of one final run beside them."""
    rows = []
    for one in comparison.standings:
        versus = one.versus_base
        rows.append(
            [
                one.rank_text,
                one.method.name,
                interval(one.accuracy),
                "" if versus is None else interval(versus.difference, signed=True),
                seconds(_mean(one.method, "device_seconds")),
                count(_mean(one.method, "flops")),
                count(_mean(one.method, "generated_tokens")),
                megabytes(max(run["peak_memory_bytes"] for run in one.method.runs)),
                count(_of_last(one.method, "trainable_parameters") or 0),
                str(len(one.method.seeds)),
            ]
        )
    columns = ["rank", "method", "accuracy", "vs base", "time", "FLOPs", "generated", "peak", "trainable", "seeds"]
    uneven = any(
        one.rank is not None and set(one.method.seeds) - set(comparison.common) for one in comparison.standings
    )
    on = f" on the seeds that all of these have ({', '.join(map(str, comparison.common))})" if uneven else ""
    note = (
        "Accuracy in per cent and differences in points, with 95% intervals over seeds and items. Methods whose "
        "difference is not significant (Holm-adjusted p >= 0.05) are tied; a rank is one more than the number of "
        f"methods that are surely better, but never better than that of a method with a higher accuracy{on}; = marks a "
        "shared one. Cost is the mean of one final run: training and generation time, floating-point operations, "
        "generated tokens, highest memory." + shared_processor([one.method for one in comparison.standings])
    )
    return Table("Leaderboard", columns, rows, note)


def pairwise(comparison: Comparison) -> Table:
    """Row minus column in points, with the adjusted p; `=` is a tie, `>` and `<` say who is ahead."""
    names = [one.method.name for one in comparison.standings if one.rank is not None]
    rows = []
    for name in names:
        cells = [name]
        for other in names:
            contrast = comparison.contrast(name, other)
            if contrast is None:
                cells.append("")
                continue
            sign = "=" if contrast.tied else (">" if contrast.difference.mean > 0 else "<")
            mean, _, bounds = interval(contrast.difference, signed=True).partition(" ")
            cells.append(f"{sign} {mean}\n{bounds}\np {p_value(contrast.p)}")
        rows.append(cells)
    note = (
        "Row minus column, in points, on the same seeds and the same questions, with a 95% interval and the p-value "
        "adjusted (Holm): pairs with base among themselves, the other pairs among themselves. > the row is ahead, "
        "< it is behind, = tied. An interval is that of its pair alone: one without 0 beside a = is of a difference "
        "that the adjustment for all pairs does not leave standing."
    )
    return Table("Every pair", ["method", *names], rows, note)


def answers_quality(comparison: Comparison) -> Table:
    """What the answers were like: reward, form, truncation and length."""
    rows = [
        [
            one.method.name,
            f"{_mean(one.method, 'reward'):.3f}",
            points(1 - _mean(one.method, "well_formed")),
            points(_mean(one.method, "truncated")),
            f"{_mean(one.method, 'tokens_per_completion'):.1f}",
            _spread(one.method),
        ]
        for one in comparison.standings
    ]
    columns = ["method", "reward", "not parsed %", "truncated %", "tokens", "accuracy of each seed"]
    note = (
        "Reward is the task's own, which may pay for form; accuracy counts right answers alone. An answer that is cut "
        "off at the token limit or cannot be parsed is wrong."
    )
    return Table("Answers", columns, rows, note)


def measures(comparison: Comparison) -> Table:
    """Further figures of the task about the same answers; no rows where it has none."""
    found = {
        one.method.name: [json.loads(run["measures"] or "{}") for run in one.method.runs]
        for one in comparison.standings
    }
    names = sorted({name for runs in found.values() for run in runs for name in run})
    rows = []
    for method, runs in found.items() if names else ():
        cells = [[run[name] for run in runs if name in run] for name in names]
        rows.append([method, *(setting(sum(values) / len(values)) if values else MISSING for values in cells)])
    note = "Means over the final runs of the task's further figures. None of them decides a rank."
    return Table("Further measures", ["method", *names], rows, note)


def tuning(data: SweepData) -> Table:
    """What finding the settings cost, and what was found."""
    rows = []
    for method in data.methods:
        states = [trial["state"] for trial in method.trials]
        values = [trial["value"] for trial in method.trials if trial["value"] is not None]
        rows.append(
            [
                method.name,
                str(len(states)),
                str(states.count("pruned")),
                str(states.count("failed")),
                points(max(values)) if values else MISSING,
                seconds(sum(trial["device_seconds"] or 0.0 for trial in method.trials)),
                count(sum(trial["flops"] or 0.0 for trial in method.trials)),
                _winner(method),
            ]
        )
    columns = ["method", "trials", "pruned", "failed", "best on val", "time", "FLOPs", "settings of the final runs"]
    note = _tuned(data)
    return Table("Tuning", columns, rows, note, frozenset({"method", columns[-1]}))


def _tuned(data: SweepData) -> str:
    """How many trials the methods had, and what may be made of their scores."""
    numbers = {method.name: len(method.trials) for method in data.methods}
    tuned = sorted({number for number in numbers.values() if number})
    if not tuned:
        return "Nothing was tuned: every method has the settings of the sweep file, else its defaults."
    without = [name for name, number in numbers.items() if not number]
    had = f"{tuned[0]} trials each" if len(tuned) == 1 else f"from {tuned[0]} to {tuned[-1]} trials"
    some = f"{', '.join(without)}: not tuned; the others had {had}." if without else f"All methods had {had}."
    return (
        f"{some} The first trial is what a search starts from: the sweep file's start values, else the method's "
        "defaults. Settings are chosen on val; the score of the best trial is therefore too good, and never shown as a "
        "result."
    )


def lost(data: SweepData) -> Table:
    """Refused methods, failed runs and seeds that are missing."""
    rows = [[refusal["method"], "refused", refusal["reason"]] for refusal in data.refusals]
    for method in data.methods:
        rows += [[method.name, f["failure"], f"{f['run_id']}: {f['failure_message']}"] for f in method.failures]
        missing = method.planned_finals - len(method.runs)
        if missing:
            rows.append([method.name, "missing", f"{missing} of {method.planned_finals} final runs have not finished"])
        if not method.planned_finals:
            rows.append([method.name, "missing", "no final runs: there are no settings for them yet"])
    return Table("Failures and refusals", ["method", "what", "why"], rows, left=frozenset({"method", "what", "why"}))


def environments(data: SweepData) -> Table:
    """Where the runs ran, one row a distinct place."""
    rows = []
    for place in data.environments:
        packages = json.loads(place["packages"])
        shown = ", ".join(f"{name} {packages[name]}" for name in _SHOWN_PACKAGES if name in packages)
        code = (place["commit"] or "not in git")[:12] + (" + changes" if place["dirty"] else "")
        rows.append(
            [
                str(place["runs"]),
                code,
                f"{place['cpu']}, {place['threads']} of {place['cores']} threads a run",
                place["gpu"] or "none",
                f"Python {place['python']}, {shown}",
            ]
        )
    left = frozenset({"code", "processor", "GPU", "software"})
    note = "Times of runs on different hardware are not comparable." if _mixed(data) else ""
    return Table("Environment", ["runs", "code", "processor", "GPU", "software"], rows, note, left)


def run_list(data: SweepData) -> Table:
    """The final runs by identity, so that every figure can be traced to its files."""
    rows = []
    for method in data.methods:
        for run in method.runs:
            place = [run["run_id"], run["folder"]]
            rows.append([method.name, str(run["seed"]), *place, points(run["accuracy"]), run["weights_digest"][:12]])
    columns = ["method", "seed", "run", "folder", "accuracy", "weights"]
    links = {run["run_id"]: f"{data.sweep['sweep']}/runs.html#{run['run_id']}" for m in data.methods for run in m.runs}
    return Table("Final runs", columns, rows, left=frozenset({"method", "run", "folder", "weights"}), links=links)


_SHOWN_PACKAGES = ("beyondrl", "torch", "transformers", "trl", "peft", "optuna", "duckdb")


def _mixed(data: SweepData) -> bool:
    return len({(place["cpu"], place["gpu"], place["threads"]) for place in data.environments}) > 1


def shared_processor(methods: list[MethodData]) -> str:
    """A sentence if runs without a GPU had to wait for the processor: their times are too long."""
    runs = [run for method in methods for run in method.runs]
    clocks = ("train_seconds", "generate_seconds", "evaluate_seconds", "overhead_seconds")
    shares = [
        run["processor_seconds"] / sum(run[clock] for clock in clocks)
        for run in runs
        if run["gpu"] is None and run["processor_seconds"] is not None
    ]
    waited = [share for share in shares if share < _WHOLE_PROCESSOR]
    if not waited:
        return ""
    return (
        f" The machine did other work beside {len(waited)} of the {len(runs)} final runs, which had a processor for "
        f"{min(waited):.0%} to {max(waited):.0%} of their time: those times are too long."
    )


_WHOLE_PROCESSOR = 0.85
"""What a run has of the processor on an idle machine, or more: one thread about 0.98 of the clock."""


def _mean(method: MethodData, column: str) -> float:
    return float(sum(run[column] for run in method.runs) / len(method.runs))


def _of_last(method: MethodData, column: str) -> Any:
    return method.runs[-1][column]


def _spread(method: MethodData) -> str:
    return ", ".join(points(float(row.mean())) for row in method.scores)


def _winner(method: MethodData) -> str:
    """The parameters of the final runs, and the training options that the sweep file gave."""
    shown = [f"{key} {setting(value)}" for key, value in (method.winner or {}).items()]
    if method.runs:
        shown.append(Training.model_validate_json(_of_last(method, "training")).text())
        control = _of_last(method, "control")
        shown.append(f"negative control: {control} verdicts in training" if control else "")
    return ", ".join(filter(None, shown)) or "no settings"
