"""Options of a training stage that belong to no method: schedule, clipping, accumulation, early stopping and so on.

`Training` is what somebody asked for; what is left out (None) is as the stage has it. A recipe may give its stages
their own, the run's spec overrides them, and `settled` fills in the rest. Only what is given is part of a run's
identity: a run without any of these options has the identity it had before they existed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from harness.frozen import Frozen, read_options

Schedule = Literal["constant", "linear", "cosine"]


class EarlyStopping(Frozen):
    """When to stop by the learning curve on val. The stage ends with the weights of its best point, in any case."""

    patience: int = Field(1, ge=1)
    """Points of the curve in a row that may pass without a better one; the last of them ends the stage."""
    min_delta: float = Field(0.0, ge=0.0)
    """A point is better if its accuracy is above the best one by more than this (a share of 1)."""


def _patience(given: Any) -> Any:
    """A whole number is a patience."""
    return {"patience": given} if isinstance(given, int) and not isinstance(given, bool) else given


class Training(Frozen):
    """What is asked of a stage's training; None is as the stage has it."""

    schedule: Schedule | None = None
    """Learning rate over the stage's part of the budget: constant, or falling to zero along a line or a half cosine."""
    warmup_steps: int | None = Field(None, ge=0)
    """Updates over which the learning rate rises to its peak."""
    max_grad_norm: float | None = Field(None, ge=0.0)
    """The gradient is scaled down to this norm (2-norm over all trainable tensors); 0 leaves it as it is. 1 if nobody
    says."""
    accumulation: int | None = Field(None, ge=1)
    """Micro-batches an update: memory for more passes. The batch of an update stays the method's. 1 if nobody says."""
    gradient_checkpointing: bool | None = None
    """Activations are computed again in the backward pass, not kept: less memory, about a third more time. Operations
    are counted as without it. Off if nobody says."""
    early_stopping: Annotated[EarlyStopping | Literal[False] | None, BeforeValidator(_patience)] = None
    """Patience in points of the learning curve (a number, or patience and min_delta), or false. Off if nobody says."""

    def given(self) -> dict[str, Any]:
        """The options that are not left out, as plain data."""
        return self.model_dump(exclude_none=True)

    def over(self, other: Training) -> Training:
        """These options, and those of `other` where these are left out."""
        return Training.model_validate({**other.given(), **self.given()})

    def without(self, names: tuple[str, ...]) -> Training:
        """These options, those called `names` left out."""
        return Training.model_validate({key: value for key, value in self.given().items() if key not in names})

    def text(self) -> str:
        """`accumulation 4, early stopping after 2 points`: what is given, for people."""
        shown = {key.replace("_", " "): value for key, value in self.given().items()}
        if isinstance(self.early_stopping, EarlyStopping):
            count, delta = self.early_stopping.patience, self.early_stopping.min_delta
            shown["early stopping"] = f"after {count} point{'s' if count > 1 else ''}"
            shown["early stopping"] += f" without a gain above {delta:g}" if delta else ""
        words = {True: "on", False: "off"}
        return ", ".join(f"{key} {words[value] if isinstance(value, bool) else value}" for key, value in shown.items())

    def settled(self) -> Settled:
        """These options with everything else as it is where nobody says."""
        return Settled(
            schedule=self.schedule,
            warmup_steps=self.warmup_steps,
            max_grad_norm=1.0 if self.max_grad_norm is None else self.max_grad_norm,
            accumulation=self.accumulation or 1,
            gradient_checkpointing=bool(self.gradient_checkpointing),
            early_stopping=self.early_stopping or None,
        )


NOTHING_ASKED = Training()


@dataclass(frozen=True)
class Settled:
    """The options of one stage with nothing left open; a schedule or warmup of None is the optimiser's own."""

    schedule: Schedule | None
    warmup_steps: int | None
    max_grad_norm: float
    accumulation: int
    gradient_checkpointing: bool
    early_stopping: EarlyStopping | None


def read_training(given: dict[str, Any]) -> Training:
    """The options in a mapping; UserError in one sentence for one that is not there or not possible."""
    return read_options(Training, given, "training")
