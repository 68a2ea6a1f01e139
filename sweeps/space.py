"""From `Search` annotations to Optuna distributions: the search space of a method is written once, in its signature.

Whole numbers stay whole, a log scale stays one, choices are categorical. The vetted default must lie inside, because
the first trial of every study is the defaults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.parameters import Parameter, Search

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def tunable(parameters: dict[str, Parameter], fixed: dict[str, Any]) -> dict[str, Parameter]:
    """The parameters that a study varies: those with a search range that the sweep file leaves open."""
    return {name: one for name, one in parameters.items() if one.search is not None and name not in fixed}


def search_space(parameters: dict[str, Parameter]) -> dict[str, BaseDistribution]:
    """The Optuna distributions of tunable parameters; TypeError where a method's default lies outside its own range."""
    space = {}
    for name, parameter in parameters.items():
        assert parameter.search is not None
        distribution = _distribution(parameter.search, parameter.default)
        if not _inside(parameter.search, parameter.default):
            raise TypeError(f"the default {parameter.default!r} of parameter {name!r} is outside its {parameter.search}")
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
