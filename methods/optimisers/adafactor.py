"""Adafactor: second moments of a matrix kept as the product of a column's and a row's means (Shazeer & Stern 2018).

arXiv 1804.04235, section 3, algorithm 4, by transformers' own implementation at a given learning rate: no relative
steps, no scaling by the size of the parameters, updates clipped at a root mean square of 1, no first moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.contracts import Signal
from harness.parts import optimiser
from methods.optimisers.adamw import over_the_budget

if TYPE_CHECKING:
    from harness.context import StageContext


@dataclass(frozen=True)
class Adafactor:
    """AdamW's place with memory for a row and a column of every matrix."""

    learning_rate: float
    schedule: Literal["constant", "linear"]
    name = "adafactor"
    takes: Signal = "gradient"
    state_bytes = 0.0
    """A row and a column of a matrix: less than a hundredth of a byte a trainable parameter."""

    def create(self, stage: StageContext) -> tuple[Any, Any]:
        """transformers' optimiser and the schedule."""
        from transformers.optimization import Adafactor as Built

        tensors = list(stage.policy.tensors().values())
        built = Built(tensors, lr=self.learning_rate, scale_parameter=False, relative_step=False, warmup_init=False)
        return built, over_the_budget(stage, built, self.schedule)

    def describe(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "schedule": self.schedule}


@optimiser("adafactor", version=1, source="Shazeer & Stern 2018, arXiv 1804.04235, algorithm 4")
def adafactor(learning_rate: float, schedule: Literal["constant", "linear"]) -> Adafactor:
    """Second moments by rows and columns, no first moment."""
    return Adafactor(learning_rate, schedule)
