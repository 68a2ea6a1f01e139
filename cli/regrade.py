"""`beyondrl regrade`: stored answers graded again by the installed version of their task, without a model."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import RUNS, Json, Runs
from cli.output import show
from harness.errors import Damaged, UserError


def regrade(
    run: Annotated[
        list[str] | None,
        typer.Argument(help="Identities of runs (or first digits), or directories; default: every finished run."),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Only runs of this task.")] = None,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Grade stored answers again; new verdicts become rows beside the old ones (beyondrl ingest).

    Without names, runs that cannot be graded again are listed with the reason, and the others are graded.
    """
    from cli.export import find_run
    from harness.record import RunDirectory, all_runs
    from harness.registry import find_task
    from harness.regrade import regrade as grade_again

    refused: list[str] = []
    if task is not None:
        find_task(task)
    if run:
        chosen = [RunDirectory(find_run(name, runs)) for name in run]
        unfinished = next((one for one in chosen if not (one.result.exists() and one.samples.exists())), None)
        if unfinished is not None:
            raise UserError(f"The run {unfinished.path} is not finished, so it has no answers to grade again.")
    else:
        chosen = [one for one in all_runs(runs) if one.result.exists() and one.samples.exists()]
    if task is not None:
        named = []
        for one in chosen:
            try:
                named += [one] if one.read_spec().task.name == task else []
            except Damaged as error:
                refused.append(str(error))
        chosen = named
    rows = []
    for one in chosen:
        try:
            found = grade_again(one)
        except UserError as error:
            if run:
                raise
            refused.append(str(error))
            continue
        rows.append(
            {
                "run": found.run_id,
                "task": found.task,
                "version": f"{found.from_version} -> {found.to_version}",
                "answers": found.answers,
                "before": round(found.before, 4),
                "after": round(found.after, 4),
                "changed": found.changed,
            }
        )
    if rows or not refused:
        show(rows, json, empty=f"There are no finished runs in {runs} to grade again.")
    if refused:
        raise UserError("\n".join(refused))
