"""Which probes watch a run for what it forgets: a suite by name, or a list of tasks.

`lab` are the other families of the lab model's pre-training, `standard` the likelihood benchmarks that retention
studies use on real models (immune to a drift of format), through lm-evaluation-harness.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from harness.errors import UserError, unknown
from harness.registry import find_task
from harness.spec import Frozen, Probe, Retention

SUITES: dict[str, tuple[dict[str, Any], ...]] = {
    "lab": (
        {"name": "sudoku", "level": "S1", "as": "sudoku S1"},
        {"name": "words", "level": "W1", "as": "words W1"},
        {"name": "filler", "as": "filler"},
    ),
    "standard": tuple(
        {"name": f"lm-eval:{task}", "as": task, "items": 500}
        for task in ("hellaswag", "piqa", "arc_easy", "lambada_openai")
    ),
}


class RetentionChoice(Frozen):
    """What a sweep file says under `retention`: `lab`, or `{suite: lab, kl_prompts: 64}`, or `{probes: [...]}`."""

    suite: str | None = None
    """One of the suites that come with the project."""
    probes: list[dict[str, Any]] = Field(default_factory=list)
    """Tasks as under `task`, each with `items`, `split` and a label under `as` if need be."""
    kl_prompts: int = Field(Retention(probes=()).kl_prompts, ge=0)
    """Questions of the new task on which the divergence from the start policy is measured."""


def retention_choice(given: Any) -> Any:
    """A bare name is a suite, a bare list the probes."""
    if isinstance(given, str):
        return {"suite": given}
    return {"probes": given} if isinstance(given, list) else given


def resolve_retention(choice: RetentionChoice) -> Retention:
    """The probes with every default; UserError for a suite, task or parameter that is not there."""
    if choice.suite is not None and choice.suite not in SUITES:
        raise unknown("retention suite", choice.suite, SUITES)
    chosen = [*SUITES.get(choice.suite or "", ()), *choice.probes]
    if not chosen:
        raise UserError(f"retention names no probe: give a suite ({', '.join(SUITES)}) or a list of tasks.")
    probes = [_probe(given) for given in chosen]
    labels = [probe.label for probe in probes]
    double = next((label for label in labels if labels.count(label) > 1), None)
    if double is not None:
        raise UserError(f"Two retention probes are called {double!r}: give one another label, as: LABEL.")
    return Retention(probes=tuple(probes), kl_prompts=choice.kl_prompts)


def _probe(given: dict[str, Any]) -> Probe:
    name = given.get("name")
    if not isinstance(name, str):
        raise UserError(f"A retention probe is {{name: TASK, parameter: value, items: N, as: LABEL}}, not {given!r}.")
    own = {key: given[key] for key in ("split", "items") if key in given}
    parameters = {key: value for key, value in given.items() if key not in ("name", "split", "items", "as")}
    return Probe(label=str(given.get("as", name)), task=find_task(name).resolve(parameters), **own)
