"""`beyondrl list KIND`: everything there is, by kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import RUNS, Json, Runs
from cli.output import console, show
from harness.errors import unknown

Rows = list[dict[str, Any]]
_SHOWN = {
    "tasks": ("task", "levels", "lab model", "lab level", "lab base %", "summary"),
    "parameterisations": ("parameterisation", "parameters", "learning rate", "summary"),
}
"""Columns of a table that would be too wide with all of them; JSON has them all."""
_NARROW = {
    "tasks": ("task", "lab level", "lab base %", "summary"),
    "methods": ("method", "summary"),
    "models": ("model", "parameters", "path"),
    "parameterisations": ("parameterisation", "summary"),
}
"""The same for a terminal of 80 columns; `beyondrl list NAME` has the rest."""


def list_kind(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="methods, tasks, models, sweeps, pairs, objectives, parameterisations, optimisers, or the name of "
            "a method, task, parameterisation or composition (lora+grpo) for its parameters."
        ),
    ] = None,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """List methods, tasks, models, sweeps, legal pairs, components, or the parameters of one method or task."""
    listings: dict[str, Callable[[Path], Rows]] = {
        "methods": _methods,
        "tasks": _tasks,
        "models": _models,
        "sweeps": _sweeps,
        "pairs": _pairs,
        "objectives": lambda _: _components("objectives"),
        "parameterisations": _parameterisations,
        "optimisers": lambda _: _components("optimisers"),
    }
    if kind is None:
        show([{"listing": f"beyondrl list {name}"} for name in listings], json)
        return
    if kind in listings:
        rows = listings[kind](runs)
        if kind == "pairs" and not json:
            rows = _by_method(rows)
        show(rows, json, _SHOWN.get(kind, ()), f"There are no {kind} yet.", _NARROW.get(kind, ()))
        return
    from harness.parts import find_parameterisation, optimisers, parameterisations
    from harness.registry import Entry, find_method, methods, tasks

    entries: dict[str, Entry[Any]] = {**optimisers(), **parameterisations(), **tasks(), **methods()}
    if "+" in kind:
        entries[kind] = find_method(kind)
    elif kind.startswith("peft:"):
        entries[kind] = find_parameterisation(kind)
    if kind not in entries:
        raise unknown("listing, method, task or part", kind, [*listings, *entries])
    if not json:
        _describe(entries[kind])
    rows = [parameter_row(one) for one in entries[kind].parameters.values()]
    show(rows, json, empty=f"{kind} has no parameters.", narrow=("parameter", "default", "tuned", "help"))


def _describe(entry: Any) -> None:
    """What an entry is, before its parameters."""
    said = {
        kind: text
        for kind, text in (
            (f"{entry.name} (version {entry.version})", entry.summary),
            ("levels", ", ".join(getattr(entry, "levels", ()))),
            ("source", entry.source),
        )
        if text
    }
    lab = _lab(entry) if getattr(entry, "lab", None) is not None else {}
    if lab:
        said["lab"] = f"model {lab['lab model']} has {lab['lab base %']}% at level {lab['lab level']}, untouched"
    for kind, text in said.items():
        console().print(f"{kind}: {text}", highlight=False, markup=False, soft_wrap=False)
    console().print()


def _by_method(rows: Rows) -> Rows:
    """Pairs as a line a method, and the reasons for what it may not train on, tasks of one reason together."""
    methods: dict[str, Rows] = {}
    for row in rows:
        methods.setdefault(row["method"], []).append(row)
    found = []
    for method, its in methods.items():
        reasons: dict[str, list[str]] = {}
        for row in its:
            if not row["legal"]:
                named = repr(row["task"])
                reason = row["why not"].replace(f"task {named}", "the task").replace(named, "the task")
                reasons.setdefault(reason, []).append(row["task"])
        why = "\n".join(f"{', '.join(refused)}: {reason}" for reason, refused in reasons.items())
        found.append({"method": method, "tasks": sum(row["legal"] for row in its), "not on": why or None})
    return found


def _methods(_: Path) -> Rows:
    from harness.plan import stage_name
    from harness.registry import methods

    rows = []
    for name, entry in methods().items():
        stages = " -> ".join(stage_name(stage) for stage in entry.create().stages)
        tuned = [one.name for one in entry.parameters.values() if one.search is not None]
        rows.append(
            {
                "method": name,
                "version": entry.version,
                "stages": stages or "no training",
                "tuned": ", ".join(tuned) or None,
                "summary": entry.summary,
                "source": entry.source or None,
            }
        )
    return rows


def _tasks(_: Path) -> Rows:
    from harness.registry import task_families, tasks

    rows: Rows = []
    for name, entry in tasks().items():
        rows.append(
            {
                "task": name,
                "version": entry.version,
                "levels": ", ".join(entry.levels) or None,
                **_lab(entry),
                "offers": ", ".join(sorted(entry.create().offers)) or None,
                "parameters": ", ".join(f"{one.name}={one.default}" for one in entry.parameters.values()) or None,
                "summary": entry.summary,
                "source": entry.source or None,
            }
        )
    for name, entry in task_families().items():
        rows.append(
            {
                "task": f"{name}:NAME",
                "version": entry.version,
                "parameters": ", ".join(f"{one.name}={one.default}" for one in entry.parameters.values()) or None,
                "summary": entry.summary,
                "source": entry.source or None,
            }
        )
    return rows


def _lab(entry: Any) -> dict[str, Any]:
    """The shipped model and level to try a task at, and the model's measured accuracy there in per cent (its card)."""
    from harness.lab.measured import base_accuracy

    if entry.lab is None:
        return {"lab model": None, "lab level": None, "lab base %": None}
    model, level = entry.lab
    return {
        "lab model": model,
        "lab level": level,
        "lab base %": round(100 * base_accuracy(model, entry.name, level), 1),
    }


def _models(_: Path) -> Rows:
    from harness.models import load_model, shipped_models

    rows = []
    for name in shipped_models():
        handle = load_model(name)
        rows.append(
            {"model": name, "revision": handle.revision, "parameters": handle.parameters, "path": str(handle.path)}
        )
    return rows


def _sweeps(runs: Path) -> Rows:
    from cli.sweep_files import shipped_sweeps
    from harness.errors import Damaged
    from sweeps.directory import all_sweeps

    rows: Rows = [
        {"sweep": name, "where": str(path), "state": "shipped", "methods": None}
        for name, path in shipped_sweeps().items()
    ]
    for directory in all_sweeps(runs):
        try:
            record = directory.read()
        except Damaged:
            rows.append(
                {"sweep": directory.path.name, "where": str(directory.path), "state": "damaged", "methods": None}
            )
            continue
        assert record is not None
        rows.append(
            {
                "sweep": directory.path.name,
                "where": str(directory.path),
                "state": "finished" if record.finished else "started",
                "methods": ", ".join(arm.method for arm in record.arms),
            }
        )
    return rows


def _pairs(_: Path) -> Rows:
    from harness.plan import pairs

    return [
        {"method": pair.method, "task": pair.task, "legal": pair.reason is None, "why not": pair.reason}
        for pair in pairs()
    ]


def _components(kind: str) -> Rows:
    from harness.registry import components

    return [{kind.removesuffix("s"): name, "summary": summary} for name, summary in components(kind).items()]


def _parameterisations(_: Path) -> Rows:
    """What `NAME+METHOD` can put in the place of all parameters, with the settings that come with it."""
    from harness.parts import parameterisation_families, parameterisations

    rows: Rows = []
    for name, part in parameterisations().items():
        factor = part.scales.get("learning-rate")
        rows.append(
            {
                "parameterisation": name,
                "version": part.version,
                "parameters": ", ".join(f"{one.name}={one.default}" for one in part.parameters.values()) or None,
                "learning rate": f"x {factor.times:g}" if factor else None,
                "summary": part.summary,
                "source": part.source or None,
                "factor's source": factor.source if factor else None,
            }
        )
    for name, family in parameterisation_families().items():
        rows.append({"parameterisation": f"{name}:TYPE", "version": None, "summary": (family.__doc__ or "").strip()})
    return rows


def parameter_row(parameter: Any) -> dict[str, Any]:
    search = parameter.search
    if search is None:
        where = None
    elif search.choices is not None:
        where = " | ".join(map(str, search.choices))
    else:
        where = f"{search.low:g} to {search.high:g}" + (" (log)" if search.log else "")
    return {
        "parameter": parameter.name,
        "type": parameter.type,
        "default": parameter.default,
        "tuned": where,
        "help": parameter.help,
    }
