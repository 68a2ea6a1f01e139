"""The parts that a method can be put together from by name: `@parameterisation` and `@optimiser`, found like methods.

A part is a function whose signature is its own configuration. `lora+sft` is the method `sft` with the parameterisation
`lora` in the place of `full`, `galore+sft` the same method with the optimiser `galore` in the place of `adamw`
(`harness.composition`). `@parameterisation_family` registers one function for all tuners of a library: `peft:vera`.
Parts are walked in `methods.parameterisations` and `methods.optimisers`; nothing is listed by hand.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from harness.errors import UserError, unknown
from harness.registry import Entry, add, discover, make_entry

OPTIMISER_SETTINGS = ("learning_rate", "schedule")
"""What an optimiser takes over from the one in whose place it is put."""


@dataclass(frozen=True)
class Factor:
    """How much larger a setting's good values are on this part than with all parameters, and who measured it."""

    times: float
    source: str


@dataclass(frozen=True)
class Part(Entry[Any]):
    """A registered parameterisation or optimiser."""

    scales: Mapping[str, Factor] = field(default_factory=dict)
    """Kind of setting (`harness.parameters.Scaled`) -> factor on a method's default and search range."""
    companion: str | None = None
    """The part of the other kind that belongs to this one and is put in where none is named."""
    tuner: str | None = None
    """The module that registers this part's tuner with PEFT, imported when such an adapter is opened."""


_PARAMETERISATIONS: dict[str, Part] = {}
_OPTIMISERS: dict[str, Part] = {}
_FAMILIES: dict[str, Callable[[str], Part]] = {}
Register = Callable[[Callable[..., Any]], Callable[..., Any]]


def parameterisation(
    name: str,
    version: int,
    source: str = "",
    scales: Mapping[str, Factor] | None = None,
    companion: str | None = None,
    tuner: str | None = None,
) -> Register:
    """Register a function that returns a Parameterisation. Raise `version` when it gives another result."""

    def register(build: Callable[..., Any]) -> Callable[..., Any]:
        entry = make_entry("parameterisation", name, version, build, build, source)
        add(_PARAMETERISATIONS, Part(**vars(entry), scales=dict(scales or {}), companion=companion, tuner=tuner))
        return build

    return register


def optimiser(name: str, version: int, source: str = "", companion: str | None = None) -> Register:
    """Register a function that returns a GradientOptimiser; it takes `learning_rate` and `schedule` first."""

    def register(build: Callable[..., Any]) -> Callable[..., Any]:
        entry = make_entry("optimiser", name, version, build, build, source, skip=OPTIMISER_SETTINGS)
        add(_OPTIMISERS, Part(**vars(entry), companion=companion))
        return build

    return register


def parameterisation_family(name: str) -> Callable[[Callable[[str], Part]], Callable[[str], Part]]:
    """Register a function that makes the part called `name:subject` from its subject, or raises UserError."""

    def register(build: Callable[[str], Part]) -> Callable[[str], Part]:
        _FAMILIES[name] = build
        return build

    return register


def parameterisations() -> dict[str, Part]:
    """Every parameterisation by name."""
    discover()
    return dict(sorted(_PARAMETERISATIONS.items()))


def optimisers() -> dict[str, Part]:
    """Every gradient optimiser by name."""
    discover()
    return dict(sorted(_OPTIMISERS.items()))


def parameterisation_families() -> dict[str, Callable[[str], Part]]:
    """Every family of parameterisations by name."""
    discover()
    return dict(sorted(_FAMILIES.items()))


def find_part(name: str) -> Part:
    """The parameterisation or optimiser called `name`; UserError with the nearest match otherwise."""
    family, colon, subject = name.partition(":")
    if colon:
        if family not in parameterisation_families():
            raise unknown("family of parameterisations", family, parameterisation_families())
        return _FAMILIES[family](subject)
    known = {**optimisers(), **parameterisations()}
    if name not in known:
        raise unknown(
            "parameterisation or optimiser", name, known, "beyondrl list parameterisations, beyondrl list optimisers"
        )
    return known[name]


def find_parameterisation(name: str) -> Part:
    """The parameterisation called `name`, or `family:subject`; UserError with the nearest match otherwise."""
    if ":" not in name and name not in parameterisations():
        raise unknown("parameterisation", name, parameterisations(), "beyondrl list parameterisations")
    return find_part(name)


def load_parameterisation(name: str, **parameters: Any) -> Any:
    """A parameterisation: `load_parameterisation("kron-lora", rank=8)`. UserError for a wrong name, key or value."""
    return find_parameterisation(name).create(**parameters)


@cache
def register_tuners() -> None:
    """Import every module that registers a tuner with PEFT, so that PEFT can open any adapter of ours."""
    for part in parameterisations().values():
        if part.tuner is not None:
            importlib.import_module(part.tuner)


def expect(kind: str, part: Part) -> Part:
    """`part` if it is of that kind; UserError otherwise."""
    if part.kind != kind:
        raise UserError(f"{part.name!r} is a {part.kind}, not a {kind} (beyondrl list {kind}s).")
    return part
