"""Annotated parameter types: bounds, search range, unit and help text of a setting in one place.

`Rank = Annotated[int, Field(ge=1), Search(2, 32, log=True), "rank of the adapter"]` is at once the configuration
schema, the help text and the search space of every method that takes a `Rank`. A parameter without `Search` is not
tuned. Sources of the ranges stand in the methods' docstrings.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined


@dataclass(frozen=True)
class Search:
    """Where tuning looks: from `low` to `high` inclusive (on a log scale if `log`), or one of `choices`."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        if (self.choices is None) == (self.low is None or self.high is None):
            raise TypeError("a Search is either a range (low and high) or choices")


@dataclass(frozen=True)
class DataPath:
    """Marks a parameter that names a local file or folder. Its content, not its place, decides a run's identity.

    A subclass marks what is named in another way (a model, a finished run) and says what stands for it.
    """

    def digest(self, place: Any) -> str:
        """What enters the identity for `place`; raises UserError if there is nothing there."""
        from harness.digest import content_digest

        return content_digest(place)


@dataclass(frozen=True)
class Scaled:
    """Marks a setting whose good values depend on which tensors move; a parameterisation has a factor for its `kind`:
    `learning-rate` of a gradient optimiser, `perturbation` of an evolution strategy."""

    kind: str


@dataclass(frozen=True)
class Parameter:
    """One setting of a method or task, as listings and the tuner see it."""

    name: str
    type: str
    default: Any
    help: str
    search: Search | None


def parameters_of(schema: type[BaseModel]) -> dict[str, Parameter]:
    """The parameters of a configuration schema, in order."""
    found = {}
    for name, info in schema.model_fields.items():
        search = next((extra for extra in info.metadata if isinstance(extra, Search)), None)
        text = next((extra for extra in info.metadata if isinstance(extra, str)), info.description or "")
        default = None if info.default is PydanticUndefined else info.default
        found[name] = Parameter(name, _worded(info.annotation), default, text, search)
    return found


def _worded(annotation: Any) -> str:
    """A type as listings show it: `float`, or the choices there are, `exact | numeric`; None goes without saying."""
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(_worded(one) for one in get_args(annotation) if one is not NoneType)
    return getattr(annotation, "__name__", str(annotation))
