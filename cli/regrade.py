"""`beyondrl regrade`: stored answers graded again by the installed version of their task, without a model."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import RUNS, Json, Runs
from cli.output import show
from harness.errors import UserError, unknown


def regrade(
    run: Annotated[list[str] | None, typer.Argument(help="Runs by id; default: every finished run.")] = None,
    task: Annotated[str | None, typer.Option(help="Only runs of this task.")] = None,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Grade stored answers again; new verdicts become rows beside the old ones (beyondrl ingest).

    Without names, runs that cannot be graded again are listed with the reason, and the others are graded.
    """
    from harness.record import all_runs
    from harness.regrade import regrade as grade_again

    done = [one for one in all_runs(runs) if one.result.exists() and one.samples.exists()]
    if task is not None:
        done = [one for one in done if one.read_spec().task.name == task]
    known = {one.read_spec().run_id: one for one in done}
    missing = sorted(set(run or ()) - set(known))
    if missing:
        raise unknown(f"finished run in {runs}", missing[0], known, "beyondrl query 'SELECT run_id FROM runs'")
    chosen = [known[name] for name in run] if run else list(done)
    rows = []
    refused: list[str] = []
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
