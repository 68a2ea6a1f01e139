"""A method as the harness runs it: stages one after another, and how its answers are asked for in the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from harness.contracts.methods import Objective, Optimiser, Parameterisation, Transform
from harness.training import NOTHING_ASKED, Training

if TYPE_CHECKING:
    from harness.spec import Budget


@dataclass(frozen=True)
class Train:
    """A stage: objective x parameterisation x optimiser."""

    objective: Objective
    parameterisation: Parameterisation
    optimiser: Optimiser
    share: float | None = None
    """Share of the run's budget that this stage may use; None is all that the stages before it have left."""
    budget: Budget | None = None
    """Limits on what this stage alone may spend, inside the run's budget: whichever is reached first ends it."""
    training: Training = NOTHING_ASKED
    """Options of this stage; those of the run go before them."""

    def describe(self) -> dict[str, Any]:
        shown: dict[str, Any] = {} if self.share is None else {"share": self.share}
        if self.budget is not None:
            shown["budget"] = self.budget.limits()
        if self.training.given():
            shown["training"] = self.training.given()
        return shown | {
            "objective": {"name": self.objective.name, **self.objective.describe()},
            "parameterisation": {"name": self.parameterisation.name, **self.parameterisation.describe()},
            "optimiser": {"name": self.optimiser.name, **self.optimiser.describe()},
        }


Stage = Train | Transform


@dataclass(frozen=True)
class Repeated:
    """Ask `samples` times and give one answer: the commonest, or the best by the task's own reward."""

    samples: int
    temperature: float
    choose: Literal["majority", "best"]


@dataclass(frozen=True)
class Pipeline:
    """A method: its stages in order. No stage at all is the untouched base model."""

    stages: tuple[Stage, ...] = field(default=())
    few_shot: int = 0
    """Solved training items put before each question at evaluation (a baseline without training)."""
    told: bool = False
    """Whether each item's text (description, document) stands in its prompt at evaluation, whatever the task does."""
    cut: bool = False
    """Whether such a text is cut to its beginning where the prompt would not fit into the model's window."""
    repeated: Repeated | None = None
    """How one answer is made of several at the final evaluation, if it is."""

    @classmethod
    def of(cls, *stages: Stage) -> Pipeline:
        return cls(stages)
