"""Rejection sampling: supervised fine-tuning on the policy's own answers that the task's verifier accepts.

Minus the mean log-likelihood of accepted completions (Yuan et al. 2023, arXiv 2308.01825, section 3.3; STaR, ReST):
`samples` a prompt from the stage's start policy, truncated ones dropped, equal texts counted once, at most `keep` a
prompt, so that easy prompts do not fill the data. What the sampling costs is charged to this method. With `restart`
the samples are imitated by the run's untouched start model, not by the policy that gave them (STaR, Zelikman et al.
2022, arXiv 2203.14465, algorithm 1, line 7), which takes the policy's place before the first update.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import GradientOptimiser, Offer, Signal, Task
from harness.errors import UserError
from harness.spec import ModelReference
from methods.objectives.replay import NO_REPLAY, Replay
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
    replay: Replay = NO_REPLAY
    restart: bool = False
    name = "rft"
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset({"verifier"})

    def refuses(self, task: Task, model: ModelReference | None) -> str | None:
        """Replay without a source."""
        return self.replay.refuses()

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """An SFTTrainer over accepted completions."""
        rows = accepted(stage, self)
        if self.restart:
            begin_anew(stage)
        return imitate(stage, optimiser, rows, self.batch_size, replay=self.replay)

    def describe(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "accepted": f"{self.samples} samples a prompt, at most {self.prompts} prompts and "
            f"{self.sampling_share:.0%} of the stage's budget, at most {self.keep} different right ones a prompt",
            "temperature": self.temperature,
            **({"restart": "the run's start model"} if self.restart else {}),
            **self.replay.describe(),
        }


def begin_anew(stage: StageContext) -> None:
    """Put the run's untouched start model in the policy's place, unless nothing is left of the budget to train it."""
    from harness.models import load_model
    from harness.policy import Policy

    if stage.exhausted() or stage.parameterisation is None:
        return
    policy, handle = stage.policy, load_model(stage.run.spec.model.name)
    model = handle.model(dtype=policy.model.dtype).to(policy.model.device).eval()
    start = Policy(model, policy.tokenizer, handle.path)
    policy.model = stage.parameterisation.attach(start, stage.seed("init") % 2**31).model


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
    batch_size: int,
    prompts: int,
    samples: int,
    keep: int,
    temperature: float,
    sampling_share: float,
    replay: Replay = NO_REPLAY,
    restart: bool = False,
) -> Rejection:
    """Imitate accepted samples of the start policy."""
    return Rejection(batch_size, prompts, samples, keep, temperature, sampling_share, replay, restart)
