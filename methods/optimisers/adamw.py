"""AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101): torch's own, over the policy's trainable tensors.

The schedule follows the budget, not a number of steps: `linear` falls to zero as the budget is used up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.contracts import Signal
from harness.parts import optimiser

if TYPE_CHECKING:
    from harness.context import StageContext

_WARMUP_STEPS = 5


@dataclass(frozen=True)
class AdamW:
    """Gradient optimiser; weight decay is 0, as post-training is short."""

    learning_rate: float
    schedule: Literal["constant", "linear"] = "linear"
    name = "adamw"
    takes: Signal = "gradient"

    def create(self, stage: StageContext) -> tuple[Any, Any]:
        """The torch optimiser and its schedule, as `transformers.Trainer` takes them."""
        import torch

        tensors = list(stage.policy.tensors().values())
        built = torch.optim.AdamW(tensors, lr=self.learning_rate, betas=(0.9, 0.99), weight_decay=0.0, foreach=True)
        if stage.policy.moments is not None:
            stage.policy.moments.put(stage.policy, built)
        return built, over_the_budget(stage, built, self.schedule)

    def describe(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "schedule": self.schedule}


def over_the_budget(stage: StageContext, built: Any, schedule: Literal["constant", "linear"]) -> Any:
    """The learning-rate schedule of every gradient optimiser: the method's, unless the stage's options say another.

    With s the share of the stage's part of the budget that is used when the rate is set and t the 0-based step:
    min(1, (t + 1) / warmup) times 1 (`constant`), 1 - s (`linear`) or (1 + cos(pi s)) / 2 (`cosine`; Loshchilov &
    Hutter 2017, arXiv 1608.03983, without restarts). Steps are counted after that: an update under a budget of steps
    has the s of the update before.
    """
    import torch

    shape = stage.training.schedule or schedule
    asked = stage.training.warmup_steps
    warmup = _WARMUP_STEPS if asked is None else max(1, asked)

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / warmup)
        if shape == "constant":
            return warm
        used = stage.spent()
        return warm * (max(0.0, 1.0 - used) if shape == "linear" else (1.0 + math.cos(math.pi * used)) / 2)

    return torch.optim.lr_scheduler.LambdaLR(built, factor)


@optimiser("adamw", version=1, source="Loshchilov & Hutter 2019, arXiv 1711.05101")
def adamw(learning_rate: float, schedule: Literal["constant", "linear"] = "linear") -> AdamW:
    """AdamW at `learning_rate`, constant or falling to zero over the budget."""
    return AdamW(learning_rate, schedule)
