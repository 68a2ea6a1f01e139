"""Contrast: right and wrong completions of the same prompts, for what tells their activations apart.

The pairs are those of DPO: the task's own, or sampled from the start policy, graded and charged (`objectives.dpo`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import Offer, Signal
from methods.objectives.dpo import pairs, preferences

if TYPE_CHECKING:
    from harness.context import StageContext


@dataclass(frozen=True)
class Contrast:
    """Pairs whose activations are compared."""

    batch_size: int
    prompts: int
    samples: int
    temperature: float
    sampling_share: float
    name = "contrast"
    gives: frozenset[Signal] = frozenset({"activations"})
    needs: frozenset[Offer] = frozenset({"preferences"})

    def pairs(self, stage: StageContext) -> list[dict[str, Any]]:
        """Rows `prompt`, `chosen`, `rejected`; raises UserError if there are none."""
        sampling = (self.prompts, self.samples, 1, self.temperature, self.sampling_share)
        return pairs(stage, preferences(1.0, self.batch_size, *sampling, name=self.name))

    def describe(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "pairs": f"{self.samples} samples a prompt, at most {self.prompts} prompts and "
            f"{self.sampling_share:.0%} of the budget, one pair a prompt",
            "temperature": self.temperature,
        }


def contrast(batch_size: int, prompts: int, samples: int, temperature: float, sampling_share: float) -> Contrast:
    """Right against wrong completions of the same prompts."""
    return Contrast(batch_size, prompts, samples, temperature, sampling_share)
