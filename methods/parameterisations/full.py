"""Full fine-tuning: every parameter may change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from harness.parts import parameterisation

if TYPE_CHECKING:
    from harness.policy import Policy


@dataclass(frozen=True)
class Full:
    """All tensors of the model, in its own precision."""

    name = "full"

    def attach(self, policy: Policy, seed: int) -> Policy:
        """Every parameter of the policy becomes trainable; nothing is drawn."""
        if hasattr(policy.model, "peft_config"):
            raise UserError("The start model is an adapter that cannot be merged, so it cannot be trained as a whole.")
        policy.model.requires_grad_(True)
        return replace(policy, kind="full")

    def describe(self) -> dict[str, Any]:
        return {}


@parameterisation("full", version=1)
def full() -> Full:
    """Every parameter may change."""
    return Full()
