"""KTO: pointwise labels in place of pairs, gains and losses weighed around a reference point as prospect theory does.

lambda_D (1 - sigmoid(beta (r - z))) on right answers, lambda_U (1 - sigmoid(beta (z - r))) on wrong ones, with
r = log pi / pi_ref and z an estimate of the KL divergence from mismatched completions of the same batch (Ethayarajh et
al. 2024, arXiv 2402.01306, equations 7 and 8); TRL's KTOTrainer. Labels are verdicts on samples of the stage's start
policy, or the task's own preferences where its data hold some. Rows are shuffled once: the trainer takes its mismatched
completions from neighbours, which must not be samples of the same prompt. Weights balance right and wrong ones
(section 4.2). z is the mean over a micro-batch: with accumulation it is noisier, and the update is not exactly that of
the whole batch.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import GradientOptimiser, Offer, Signal
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.context import StageContext


@dataclass(frozen=True)
class Labels:
    """Prefer right completions, one by one."""

    beta: float
    batch_size: int
    prompts: int
    samples: int
    temperature: float
    sampling_share: float
    name = "kto"
    holds_reference = True
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset({"preferences"})

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """A KTOTrainer over labelled samples."""
        from datasets import Dataset
        from trl import KTOConfig, KTOTrainer

        from harness.gradient_loop import trainer_arguments

        rows = labelled(stage, self)
        right = sum(row["label"] for row in rows)
        wrong = len(rows) - right
        return KTOTrainer(
            model=stage.policy.model,
            ref_model=None if stage.policy.kind == "adapter" else stage.reference(),
            args=KTOConfig(
                **trainer_arguments(stage, min(self.batch_size, len(rows))),
                beta=self.beta,
                loss_type="kto",
                desirable_weight=max(1.0, wrong / right),
                undesirable_weight=max(1.0, right / wrong),
                max_length=None,
                train_sampling_strategy="sequential",
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=stage.policy.tokenizer,
            optimizers=optimiser.create(stage),
        )

    def describe(self) -> dict[str, Any]:
        return {
            "beta": self.beta,
            "batch_size": self.batch_size,
            "labels": f"{self.samples} samples a prompt, at most {self.prompts} prompts and "
            f"{self.sampling_share:.0%} of the stage's budget",
            "temperature": self.temperature,
        }


def labelled(stage: StageContext, settings: Labels) -> list[dict[str, Any]]:
    """Rows `prompt`, `completion`, `label` in a random order; UserError unless there are right and wrong ones."""
    from methods.objectives.dataset import completion_columns, given_pairs
    from methods.objectives.rollouts import start_rollouts

    given = given_pairs(stage, settings.prompts)
    if given is not None:
        return _both_labels(stage, given)
    sampled = start_rollouts(stage, settings.prompts, settings.samples, settings.temperature, settings.sampling_share)
    different = {(r.item.id, r.text): r for r in sampled if not r.truncated and (r.correct or r.well_formed)}
    rows = [
        completion_columns(stage.task.prompt(rollout.item), rollout.text) | {"label": rollout.correct}
        for rollout in different.values()
    ]
    random.Random(stage.seed("labels")).shuffle(rows)
    right = sum(row["label"] for row in rows)
    stage.run.events.write("labels", rollouts=len(sampled), right=right, wrong=len(rows) - right)
    if right in (0, len(rows)):
        raise UserError(
            f"kto needs right and wrong answers: of {len(rows)} different ones {right} were right. "
            "Use more samples or another level."
        )
    return rows


def _both_labels(stage: StageContext, pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every chosen completion as right, every rejected one as wrong, in a random order."""
    rows = [
        {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
        for pair in pairs
        for side in ("chosen", "rejected")
    ]
    random.Random(stage.seed("labels")).shuffle(rows)
    return rows


def labels(
    beta: float, batch_size: int, prompts: int, samples: int, temperature: float, sampling_share: float
) -> Labels:
    """KTO on graded samples of the start policy."""
    return Labels(beta, batch_size, prompts, samples, temperature, sampling_share)
