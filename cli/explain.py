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
    from harness.explanation import explain as put_together

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
    _say(f"\ntry it: beyondrl run --method {method} --task {_first(found)} --model lab --flops 1e11")


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


def _first(found: Explanation) -> str:
    return "countdown" if "countdown" in found.trains_on or not found.trains_on else found.trains_on[0]


def _say(text: str) -> None:
    console().print(text, markup=False, highlight=False)
