"""DPO and its kin: losses of r_chosen and r_rejected with r = log pi / pi_ref, summed over a completion.

TRL's DPOTrainer, by its names of losses: `sigmoid` is -log sigmoid(beta (r_chosen - r_rejected)) (Rafailov et al.
2023, arXiv 2305.18290, equation 7), `ipo`, `apo_zero` and `sft` stand in the recipes that use them. Pairs are the
task's own where its data hold some. Else they are a right and a wrong completion of the same training prompt, sampled
from the start policy and graded by the task's verifier: truncated samples are dropped, equal texts counted once, each
right answer used about equally often, and what the sampling costs is charged to this method. The reference is the
stage's start policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.contracts import GradientOptimiser, Offer, Signal
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.context import StageContext
    from methods.objectives.rollouts import Rollout


@dataclass(frozen=True)
class Preferences:
    """Prefer right completions to wrong ones."""

    beta: float
    batch_size: int
    prompts: int
    samples: int
    pairs_per_prompt: int
    temperature: float
    sampling_share: float
    losses: tuple[tuple[str, float], ...] = (("sigmoid", 1.0),)
    """TRL's names of the losses that are added, each with its weight."""
    name: str = "dpo"
    holds_reference: ClassVar[bool] = True
    names: ClassVar[tuple[str, ...]] = ("dpo", "dpo-nll", "ipo", "apo", "iterative-dpo")
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset({"preferences"})

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """A DPOTrainer over pairs sampled from the start policy."""
        from datasets import Dataset
        from trl import DPOConfig, DPOTrainer

        from harness.gradient_loop import trainer_arguments

        rows = pairs(stage, self)
        return DPOTrainer(
            model=stage.policy.model,
            ref_model=None if stage.policy.kind == "adapter" else stage.reference(),
            args=DPOConfig(
                **trainer_arguments(stage, min(self.batch_size, len(rows))),
                beta=self.beta,
                loss_type=[loss for loss, _ in self.losses],
                loss_weights=[weight for _, weight in self.losses],
                max_length=None,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=stage.policy.tokenizer,
            optimizers=optimiser.create(stage),
        )

    def split(self, inputs: dict[str, Any], parts: int, items: Any) -> list[tuple[dict[str, Any], float]]:
        """Pairs stay together: a batch is all chosen answers, then all rejected ones."""
        from harness.micro_batches import split_rows

        return split_rows(inputs, parts, items, blocks=2)

    def describe(self) -> dict[str, Any]:
        return {
            "loss": " + ".join(loss if weight == 1 else f"{weight:g} {loss}" for loss, weight in self.losses),
            "beta": self.beta,
            "batch_size": self.batch_size,
            "pairs": f"{self.samples} samples a prompt, at most {self.prompts} prompts and "
            f"{self.sampling_share:.0%} of the budget, at most {self.pairs_per_prompt} pairs a prompt",
            "temperature": self.temperature,
        }


def pairs(stage: StageContext, settings: Preferences) -> list[dict[str, Any]]:
    """Preference rows `prompt`, `chosen`, `rejected`; raises UserError if no prompt has both outcomes."""
    from methods.objectives.dataset import as_answer, given_pairs
    from methods.objectives.rollouts import start_rollouts

    given = given_pairs(stage, settings.prompts)
    if given is not None:
        return given
    sampled = start_rollouts(stage, settings.prompts, settings.samples, settings.temperature, settings.sampling_share)
    by_item: dict[str, list[Rollout]] = {}
    for rollout in sampled:
        if not rollout.truncated:
            by_item.setdefault(rollout.item.id, []).append(rollout)
    rows = []
    for rollouts in by_item.values():
        right = list({r.text: r for r in rollouts if r.correct}.values())
        wrong = list({r.text: r for r in rollouts if not r.correct and r.well_formed}.values())
        if not right:
            continue
        prompt = stage.task.prompt(rollouts[0].item)
        for number, rejected in enumerate(wrong[: settings.pairs_per_prompt]):
            chosen = right[number % len(right)]
            rows.append(
                {
                    "prompt": prompt,
                    "chosen": as_answer(prompt, chosen.text),
                    "rejected": as_answer(prompt, rejected.text),
                }
            )
    stage.run.events.write("pairs", prompts=len(by_item), rollouts=len(sampled), pairs=len(rows))
    if not rows:
        raise UserError(
            f"{settings.name} found no pair: of {len(by_item)} prompts none had both a right and a wrong answer in "
            f"{settings.samples} samples. Use more samples, an easier level, or sft first."
        )
    return rows


def preferences(
    beta: float,
    batch_size: int,
    prompts: int,
    samples: int,
    pairs_per_prompt: int,
    temperature: float,
    sampling_share: float,
    losses: tuple[tuple[str, float], ...] = (("sigmoid", 1.0),),
    name: str = "dpo",
) -> Preferences:
    """DPO, or the kin that `losses` says, on pairs sampled from the start policy and graded."""
    return Preferences(beta, batch_size, prompts, samples, pairs_per_prompt, temperature, sampling_share, losses, name)
