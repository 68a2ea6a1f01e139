"""`beyondrl explain METHOD`: what a method is, what it needs, where it can train, and its nearest relatives."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Json
from cli.output import console, show

if TYPE_CHECKING:
    from harness.explanation import Explanation


def explain(
    method: Annotated[str, typer.Argument(help="A method, or a composition such as lora+grpo.")],
    json: Json = False,
) -> None:
    """What a method is: its paper, parts, needs, settings and ranges, the tasks it can train on, its relatives."""
    from cli.listing import parameter_row
    from harness.errors import UserError
    from harness.explanation import explain as put_together
    from harness.registry import methods, tasks

    if method in tasks() and method not in methods():
        raise UserError(f"{method!r} is a task: beyondrl list {method} says what it is and takes.")
    found = put_together(method)
    settings = [parameter_row(one) for one in found.parameters]
    if json:
        show([{**asdict(found), "parameters": settings}], json)
        return
    _say(f"{found.name} (version {found.version})")
    if found.source:
        _say(f"from: {found.source}")
    _say(f"\n{found.text}\n")
    _parts(found)
    _say(f"needs from a task: {', '.join(found.needs) or 'nothing'}")
    _tasks(found)
    for one in found.relatives:
        here, there = " and ".join(one.only_here), " and ".join(one.only_there)
        how = " ".join(filter(None, (f"with {there}" if there else "", f"without {here}" if here else "")))
        _say(f"near: {one.name} ({one.shared:.0%} of the parts alike{f'; {how}' if how else ''})")
    _say("")
    narrow = ("parameter", "default", "tuned", "help")
    show(settings, json, narrow, f"{method} has no settings.", narrow)
    _say(f"\ntry it: {_example(found)}")


def _parts(found: Explanation) -> None:
    if not found.stages:
        _say("parts: none, it trains nothing")
    for number, stage in enumerate(found.stages, start=1):
        _say(f"stage {number}: {stage}")
        for part in found.parts:
            if part.stage == number and part.summary:
                _say(f"  {part.kind} {part.name}: {part.summary}")


def _tasks(found: Explanation) -> None:
    _say(
        f"can train on: {', '.join(found.trains_on) or 'no registered task'}" if found.stages else "can be run on: any"
    )
    reasons: dict[str, list[str]] = {}
    for task, reason in found.refused.items():
        reasons.setdefault(reason.replace(repr(task), "the task").replace("task the task", "the task"), []).append(task)
    for reason, refused in reasons.items():
        _say(f"not on {', '.join(refused)}: {reason}")


def _example(found: Explanation) -> str:
    """A run on the first task that a shipped model can try, or on the first of all where it trains on none of them."""
    from harness.registry import tasks

    tried = {name: entry.lab[0] for name, entry in tasks().items() if entry.lab is not None}
    task = next((name for name in found.trains_on if name in tried), next(iter(tried)))
    return f"beyondrl run --method {found.name} --task {task} --model {tried[task]} --flops 1e11"


def _say(text: str) -> None:
    console().print(text, markup=False, highlight=False)
