"""`beyondrl export-task TASK`: a task as a folder that lm-evaluation-harness runs, graded by the task's own grader."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.output import console


def export_task(
    task: Annotated[str, typer.Argument(help="Task (beyondrl list tasks).")],
    out: Annotated[Path, typer.Option("--out", help="Folder for lm_eval --include_path; tasks there stay.")],
    task_parameter: Annotated[list[str], typer.Option("-t", help="Task parameter, key=value.")] = [],  # noqa: B006
    data: Annotated[str | None, typer.Option("--data", help="The task's data: short for -t data=PATH.")] = None,
    items: Annotated[int, typer.Option("--items", min=1, help="Questions.")] = 500,
    split: Annotated[str, typer.Option("--split", help="Split they are from.")] = "test",
) -> None:
    """Write a task for lm-evaluation-harness, which then asks its questions and grades with our grader."""
    from cli.places import require_writable
    from cli.settings import settings
    from tasks.bridges.lm_eval_export import export_tasks

    given: dict[str, Any] = {"name": task, **settings(task_parameter, "-t")}
    if data is not None:
        given["data"] = data
    require_writable(out.absolute().parent, "--out")
    (name,) = export_tasks([given], out, items, split)
    terminal = console()
    terminal.print(f"Exported {task} to {out} as {name}.", highlight=False, soft_wrap=True)
    terminal.print(
        f"lm_eval --include_path {out} --tasks {name} --model hf --model_args pretrained=MODEL",
        highlight=False,
        soft_wrap=True,
    )
