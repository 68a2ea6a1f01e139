"""From `Search` annotations to Optuna distributions: the search space of a method is written once, in its signature.

Whole numbers stay whole, a log scale stays one, choices are categorical. A sweep file may move a range for its model.
The default must lie inside, because the first trial of every study is the defaults.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from harness.errors import UserError, unknown
from harness.parameters import Parameter, Search
from harness.registry import Entry
from sweeps.file import MethodChoice, Range

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def tunable(entry: Entry[Any], choice: MethodChoice) -> dict[str, Parameter]:
    """The parameters that a study varies, each with its range and, as default, the value of the first trial.

    They are those with a range in the method or in the sweep file, except for the ones the sweep file fixes.
    """
    both = sorted(set(choice.search) & set(choice.parameters))
    if both:
        raise UserError(f"{choice.label}: {both[0]!r} is fixed and has a search range; keep one of the two.")
    for name in choice.search:
        if name not in entry.parameters:
            raise unknown(f"parameter of method {entry.name!r}", name, entry.parameters)
    found = {}
    for name, parameter in entry.parameters.items():
        if name in choice.search:
            found[name] = _moved(entry, parameter, choice.search[name])
        elif parameter.search is not None and name not in choice.parameters:
            found[name] = parameter
    return found


def _moved(entry: Entry[Any], parameter: Parameter, given: Range) -> Parameter:
    """A parameter with the range of the sweep file; UserError unless the method takes all of it."""
    own = parameter.search
    log = given.log if given.log is not None else own is not None and own.log
    search = Search(given.low, given.high, log and given.choices is None, given.choices)
    start = parameter.default if given.start is None else given.start
    for value in given.choices if given.choices is not None else (given.low, given.high, start):
        whole = isinstance(parameter.default, int) and isinstance(value, float) and value.is_integer()
        entry.resolve({parameter.name: int(value) if whole else value})
    if not _inside(search, start):
        raise UserError(
            f"method {entry.name!r}: the first trial would have {parameter.name}={start!r}, which is outside the range "
            "given for it; say where to begin with start: ..."
        )
    if search.log and search.low is not None and search.low <= 0:
        raise UserError(f"method {entry.name!r}: {parameter.name} is searched on a log scale, so low must be above 0.")
    if isinstance(parameter.default, float) and isinstance(start, int):
        start = float(start)
    return dataclasses.replace(parameter, search=search, default=start)


def search_space(parameters: dict[str, Parameter]) -> dict[str, BaseDistribution]:
    """The Optuna distributions of tunable parameters; TypeError where a method's default lies outside its own range."""
    space = {}
    for name, parameter in parameters.items():
        assert parameter.search is not None
        distribution = _distribution(parameter.search, parameter.default)
        if not _inside(parameter.search, parameter.default):
            raise TypeError(
                f"the default {parameter.default!r} of parameter {name!r} is outside its {parameter.search}"
            )
        space[name] = distribution
    return space


def _distribution(search: Search, default: Any) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if search.choices is not None:
        return CategoricalDistribution(search.choices)
    assert search.low is not None and search.high is not None
    if isinstance(default, int):
        return IntDistribution(int(search.low), int(search.high), log=search.log)
    return FloatDistribution(search.low, search.high, log=search.log)


def _inside(search: Search, default: Any) -> bool:
    if search.choices is not None:
        return default in search.choices
    assert search.low is not None and search.high is not None
    return isinstance(default, (int, float)) and search.low <= default <= search.high
