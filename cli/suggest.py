"""`beyondrl suggest`: which methods were best on a task at a budget, with the evidence, or that there is none."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import DATABASE, Database, Json
from cli.output import console, show
from harness.errors import UserError, unknown

_SHOWN = ("method", "accuracy", "vs base", "tied", "seeds", "items", "run", "tuning", "sweep", "budget", "on")
_NARROW = ("method", "accuracy", "vs base", "seeds", "sweep")


def suggest(
    task: Annotated[str, typer.Option(help="Task (beyondrl list tasks).")],
    budget: Annotated[str, typer.Option(help="Meter and amount, as in a sweep file: flops=1.2e12.")],
    level: Annotated[str | None, typer.Option(help="The task's level; any, if left out.")] = None,
    model: Annotated[str | None, typer.Option(help="Only sweeps with this model.")] = None,
    database: Database = DATABASE,
    json: Json = False,
) -> None:
    """Which methods were best on a task (or like ones) at about this budget: from the database, never without it."""
    from reports.suggestion import Question, answer, elsewhere, suggestion_rows
    from reports.suggestion import suggest as look_up

    meter, amount = _budget(budget)
    question = Question(task, meter, amount, level, model, _alike(task, level))
    evidence = look_up(database, question)
    rows = suggestion_rows(evidence)
    if json:
        show([{"suggestion": answer(question, evidence), "evidence": rows}], json)
        return
    for sentence in answer(question, evidence):
        _say(sentence)
    if rows:
        console().print()
        show(rows, json, _SHOWN, narrow=_NARROW)
        _say("\naccuracy in per cent and vs base in points, with 95% intervals; beyondrl report SWEEP has the whole.")
        return
    for line in elsewhere(database, question):
        _say(f"there is {line}")
    _say(f"Measure it: a sweep file with task {task} and budget {{{meter}: {amount:g}}} (beyondrl list sweeps).")


def _budget(text: str) -> tuple[str, float]:
    """`flops=1.2e12` as a meter and a positive number; UserError for anything else."""
    from harness.spec import Budget

    meter, _, number = text.partition("=")
    if meter not in Budget.model_fields:
        raise unknown("meter", meter, Budget.model_fields, "--budget flops=1.2e12")
    try:
        amount = float(number)
    except ValueError:
        amount = 0.0
    if not 0 < amount < float("inf"):
        raise UserError(f"--budget {text}: {number or 'nothing'} is no positive number. Write it as {meter}=1.2e12.")
    return meter, amount


def _alike(task: str, level: str | None) -> list[str]:
    """Tasks that offer the same signals, so that the same methods can train on them; UserError for a wrong task."""
    from harness.registry import find_task, tasks

    entry = find_task(task)
    if level is not None and entry.levels and level not in entry.levels:
        raise unknown(f"level of {task!r}", level, entry.levels)
    offers = entry.create().offers
    return [name for name, one in tasks().items() if name != task and one.create().offers == offers]


def _say(text: str) -> None:
    console().print(text, markup=False, highlight=False)
