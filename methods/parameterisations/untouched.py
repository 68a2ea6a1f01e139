"""The policy stays as it is: for stages that train something beside it, a reward model.

It is no part that others can be put in the place of: `lora+reward-model` has nothing that LoRA could move.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.policy import Policy


@dataclass(frozen=True)
class Untouched:
    """No tensor of the policy."""

    name = "untouched"

    def attach(self, policy: Policy, seed: int) -> Policy:
        """Nothing of the policy becomes trainable; nothing is drawn."""
        policy.model.requires_grad_(False)
        return replace(policy, kind="full")

    def describe(self) -> dict[str, Any]:
        return {}


def untouched() -> Untouched:
    """Nothing of the policy may change."""
    return Untouched()
