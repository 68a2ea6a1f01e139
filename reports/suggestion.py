"""Which methods were best on a task at a budget, from finished runs alone: each answer with the sweep that says so.

A sweep counts if it was limited on the meter that is asked about, by no less than half and no more than twice that
much, and has ranked methods (three seeds or more) scored on test. Sweeps on the same task and level come first, then
other levels of the task, then like tasks; inside each, the nearest budget, then the most methods. Of a sweep, the
methods that share its first rank are shown: what is tied with the best by its adjusted p-value is as good an answer.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from reports.comparison import BASELINE, Comparison, Standing, compare
from reports.headline import budget_text
from reports.numbers import interval, seconds
from reports.sweep_data import SweepData, read_sweep_data
from results.database import query

WITHIN = 2.0
"""A budget is near when it is no more than this many times larger or smaller."""
SHOWN = 5
"""Methods of a sweep that are named; all of them stand in its report."""
SENTENCES = 3
Likeness = Literal["same task and level", "another level", "a like task"]
_ORDER: tuple[Likeness, ...] = ("same task and level", "another level", "a like task")


@dataclass(frozen=True)
class Question:
    """What is asked: a task, at a level (any if None), a budget on one meter, perhaps a model; and tasks like it."""

    task: str
    meter: str
    amount: float
    level: str | None = None
    model: str | None = None
    alike: Collection[str] = ()

    @property
    def text(self) -> str:
        level = f" (level {self.level})" if self.level is not None else ""
        model = f" with {self.model}" if self.model is not None else ""
        return f"{self.task}{level}{model} at {budget_text({self.meter: self.amount})}"


@dataclass(frozen=True)
class Evidence:
    """A sweep that answers, and how near it is to the question; the first of `best` has the highest accuracy."""

    data: SweepData
    comparison: Comparison
    likeness: Likeness
    best: tuple[Standing, ...]

    @property
    def sweep(self) -> str:
        return str(self.data.sweep["sweep"])


def suggest(database: Path, question: Question) -> list[Evidence]:
    """Every sweep with an answer, the nearest first; none where nothing was measured."""
    found = []
    for data in _sweeps(database, question):
        comparison = compare(data)
        best = tuple(one for one in comparison.standings if one.rank == 1 and not _is_control(one))
        likeness = _likeness(question, data)
        if best and likeness is not None and _near(question, data):
            found.append(Evidence(data, comparison, likeness, best))
    found.sort(key=lambda one: (_ORDER.index(one.likeness), _distance(question, one.data), -_ranked(one), one.sweep))
    return _without_repeats(found)


def suggestion_rows(evidence: list[Evidence]) -> list[dict[str, Any]]:
    """A row a suggested method and sweep, `SHOWN` of a sweep at most, the numbers as in that sweep's report."""
    rows = []
    for one in evidence:
        for standing in one.best[:SHOWN]:
            versus, method = standing.versus_base, standing.method
            tuned = sum(trial["device_seconds"] or 0.0 for trial in method.trials)
            rows.append(
                {
                    "method": method.name,
                    "accuracy": interval(standing.accuracy),
                    "vs base": None if versus is None else interval(versus.difference, signed=True),
                    "tied": len(one.best) > 1,
                    "seeds": len(method.seeds),
                    "items": method.scores.shape[1],
                    "run": seconds(sum(run["device_seconds"] for run in method.runs) / len(method.runs)),
                    "tuning": seconds(tuned) if method.trials else None,
                    "sweep": one.sweep,
                    "budget": budget_text(one.data.sweep["budget"]),
                    "on": one.likeness,
                }
            )
    return rows


def answer(question: Question, evidence: list[Evidence]) -> list[str]:
    """A sentence for each of the nearest sweeps, with how sure it is; or one that says that there is no evidence."""
    if not evidence:
        return [f"Nothing was measured on {question.text}, nor near it, so nothing is suggested."]
    return [_sentence(one) for one in evidence if one.likeness == evidence[0].likeness][:SENTENCES]


def _sentence(one: Evidence) -> str:
    names = [standing.method.name for standing in one.best]
    others = _ranked(one) - len(names)
    seeds = min(len(standing.method.seeds) for standing in one.best)
    unfinished = "" if one.data.sweep["finished"] else ", unfinished"
    where = f"sweep {one.sweep} ({one.likeness}, {seeds} seeds{unfinished})"
    if BASELINE in names:
        return f"None: in {where} no method was surely better than the untuned base."
    ahead = f", ahead of {others} {'other' if others == 1 else 'others'}" if others else ""
    if len(names) == 1:
        return f"{names[0]} alone has the first rank in {where}{ahead}."
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more} share the first rank in {where}{ahead}: none of them is surely the best."


def elsewhere(database: Path, question: Question) -> list[str]:
    """What was measured on the task or like ones at other budgets: sweep, task and budget."""
    found = []
    for data in _sweeps(database, question):
        if any(method.runs for method in data.methods):
            on = " ".join(filter(None, (data.sweep["task"], _level(data))))
            found.append(f"{data.sweep['sweep']}: {on}, {budget_text(data.sweep['budget'])}")
    return found


def _sweeps(database: Path, question: Question) -> Iterator[SweepData]:
    """The sweeps on the task or one like it, with the model that is asked about."""
    _, rows = query(database, "SELECT sweep, task, model FROM sweeps ORDER BY sweep")
    for sweep, task, model in rows:
        if task in {question.task, *question.alike} and question.model in (None, model):
            yield read_sweep_data(database, sweep)


def _likeness(question: Question, data: SweepData) -> Likeness | None:
    if data.sweep["final_evaluation"]["split"] != "test":
        return None
    if data.sweep["task"] != question.task:
        return "a like task"
    same = question.level is None or _level(data) == question.level
    return "same task and level" if same else "another level"


def _level(data: SweepData) -> str | None:
    level = data.sweep["task_parameters"].get("level")
    return None if level is None else str(level)


def _near(question: Question, data: SweepData) -> bool:
    return question.meter in data.sweep["budget"] and _distance(question, data) <= math.log(WITHIN) + 1e-9


def _distance(question: Question, data: SweepData) -> float:
    return abs(math.log(data.sweep["budget"][question.meter] / question.amount))


def _ranked(one: Evidence) -> int:
    return sum(standing.rank is not None for standing in one.comparison.standings)


def _is_control(standing: Standing) -> bool:
    return any(run["control"] for run in standing.method.runs)


def _without_repeats(found: list[Evidence]) -> list[Evidence]:
    """A sweep whose final runs all stand in a larger one says nothing of its own."""
    runs = {one.sweep: {run["run_id"] for method in one.data.methods for run in method.runs} for one in found}

    def repeated(one: Evidence) -> bool:
        mine = runs[one.sweep]
        return any(
            mine < theirs or (mine == theirs and name < one.sweep) for name, theirs in runs.items() if name != one.sweep
        )

    return [one for one in found if not repeated(one)]
