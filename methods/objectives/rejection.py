"""Rejection sampling: supervised fine-tuning on the policy's own answers that the task's verifier accepts.

Minus the mean log-likelihood of accepted completions (Yuan et al. 2023, arXiv 2308.01825, section 3.3; STaR, ReST):
`samples` a prompt from the stage's start policy, truncated ones dropped, equal texts counted once, at most `keep` a
prompt, so that easy prompts do not fill the data. What the sampling costs is charged to this method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import GradientOptimiser, Offer, Signal
from harness.errors import UserError
from methods.objectives.sft import imitate

if TYPE_CHECKING:
    from harness.context import StageContext


@dataclass(frozen=True)
class Rejection:
    """Imitate one's own right answers."""

    batch_size: int
    prompts: int
    samples: int
    keep: int
    temperature: float
    sampling_share: float
    name = "rft"
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset({"verifier"})

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """An SFTTrainer over accepted completions."""
        return imitate(stage, optimiser, accepted(stage, self), self.batch_size)

    def describe(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "accepted": f"{self.samples} samples a prompt, at most {self.prompts} prompts and "
            f"{self.sampling_share:.0%} of the stage's budget, at most {self.keep} different right ones a prompt",
            "temperature": self.temperature,
        }


def accepted(stage: StageContext, settings: Rejection) -> list[dict[str, Any]]:
    """Rows `prompt`, `completion`; raises UserError if nothing was right."""
    from methods.objectives.dataset import completion_columns
    from methods.objectives.rollouts import start_rollouts

    sampled = start_rollouts(stage, settings.prompts, settings.samples, settings.temperature, settings.sampling_share)
    kept: dict[str, dict[str, dict[str, Any]]] = {}
    for rollout in sampled:
        texts = kept.setdefault(rollout.item.id, {})
        if rollout.correct and not rollout.truncated and len(texts) < settings.keep:
            texts[rollout.text] = completion_columns(stage.task.prompt(rollout.item), rollout.text)
    rows = [row for texts in kept.values() for row in texts.values()]
    stage.run.events.write("accepted", prompts=len(kept), rollouts=len(sampled), rows=len(rows))
    if not rows:
        raise UserError(
            f"rft found no right answer: {len(kept)} prompts, {settings.samples} samples each. "
            "Use more samples, an easier level, or sft first."
        )
    return rows


def rejection(
    batch_size: int, prompts: int, samples: int, keep: int, temperature: float, sampling_share: float
) -> Rejection:
    """Imitate accepted samples of the start policy."""
    return Rejection(batch_size, prompts, samples, keep, temperature, sampling_share)
