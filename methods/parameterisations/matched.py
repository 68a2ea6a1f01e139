"""LoRA as a control: the rank follows from another parameterisation's closed form, for the model at hand.

`parameters:NAME` takes the rank whose number of trainable parameters, r * sum(outputs + inputs), is nearest to that of
NAME; `rank:NAME` the largest rank that NAME's update may have on any layer. NAME may carry settings of its own:
`parameters:kron-lora,rank=4`. What was chosen stands in the adapter's own configuration.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.errors import UserError, unknown
from methods.parameterisations.lora import lora
from methods.parameterisations.tuner import Tuner, layer_shapes

if TYPE_CHECKING:
    from harness.policy import Policy
    from harness.spec import ModelReference
    from methods.settings import Targets

WAYS = ("parameters", "rank")


@dataclass(frozen=True)
class Matched:
    """A LoRA whose rank is computed when the model is known."""

    way: str
    other: Tuner
    match: str
    alpha: float
    targets: Targets
    name: str = "lora"
    mergeable = True
    needs_gradient = None

    def attach(self, policy: Policy, seed: int) -> Policy:
        """LoRA of the matching rank around the policy's model."""
        own, others = layer_shapes(policy.model, self.targets), layer_shapes(policy.model, self.other.targets)
        hidden = int(policy.model.config.hidden_size)
        return lora(self.rank(own, others, hidden), self.alpha, self.targets).attach(policy, seed)

    def rank(self, own: list[tuple[int, int]], others: list[tuple[int, int]], hidden: int) -> int:
        """The matching rank, at least 1, for the (outputs, inputs) of the layers that LoRA and the other one adapt."""
        assert self.other.count is not None and self.other.rank_of is not None
        if self.way == "rank":
            return max(self.other.rank_of(*shape, hidden) for shape in others)
        wanted = sum(self.other.count(*shape, hidden) for shape in others)
        return max(1, round(wanted / sum(outputs + inputs for outputs, inputs in own)))

    def refuses(self, task: Any, model: ModelReference | None) -> str | None:
        if model is None:
            return None
        from harness.models import load_model
        from methods.parameterisations.tuner import targeted

        handle = load_model(model.name)
        layers, hidden = handle.linear_layers(), int(handle.configuration()["hidden_size"])
        own, others = (
            list(targeted(layers, one or "all-linear").values()) for one in (self.targets, self.other.targets)
        )
        return lora(self.rank(own, others, hidden), self.alpha, self.targets).refuses(task, model) if own else None

    def describe(self) -> dict[str, Any]:
        return {"match": self.match, "alpha": self.alpha, "targets": self.targets}


def matched(match: str, alpha: float, targets: Targets) -> Matched:
    """The control that `match` says; UserError if it names no way or no parameterisation with a closed form."""
    from harness.parts import load_parameterisation

    way, colon, rest = match.partition(":")
    if way not in WAYS or not colon:
        raise unknown("way to match a parameterisation", way, WAYS, "for example match=parameters:kron-lora")
    name, *settings = rest.split(",")
    given = dict(_setting(one, match) for one in settings)
    other = load_parameterisation(name, **given)
    if getattr(other, "count", None) is None or getattr(other, "rank_of", None) is None:
        raise UserError(f"match={match}: {name!r} has no closed form of its {way}; kron-lora has one.")
    return Matched(way, replace(other), match, alpha, targets)


def _setting(text: str, match: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"match={match}: {text!r} is no setting, write key=value.")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
