"""Online DPO: -log sigmoid(beta (r_chosen - r_rejected)) on pairs that the present policy has just written.

r = log pi / pi_ref summed over a completion, the reference being the stage's start policy (Guo et al. 2024, arXiv
2402.04792, section 3). Every update takes the next prompts, samples `samples` answers to each and pairs the one of the
highest with the one of the lowest reward by the task's verifier; a prompt whose answers all have the same reward is a
tie and gives no pair, an update without any pair has no loss. The loss is TRL's DPOTrainer's, on the sampled tokens
themselves: an answer that was cut short is not made to look finished. Sane settings: beta 0.05 to 0.5, learning rate
5e-7 to 5e-6 for all parameters of a model of 0.5B and more, 5e-6 to 5e-5 for LoRA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import GradientOptimiser, Item, Offer, Signal

if TYPE_CHECKING:
    from harness.context import StageContext

Pair = dict[str, list[int]]


@dataclass(frozen=True)
class OnlinePreferences:
    """Prefer one's own better answer to one's own worse one, as they come."""

    beta: float
    prompts_per_step: int
    samples: int
    temperature: float
    examples: int
    name = "online-dpo"
    holds_reference = True
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset({"verifier"})

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """A DPOTrainer whose pairs are sampled when a batch of questions comes to its turn."""
        from datasets import Dataset
        from trl import DPOConfig, DPOTrainer

        from harness.gradient_loop import trainer_arguments

        objective, items = self, list(stage.train_items(self.examples))

        class OnlineDPOTrainer(DPOTrainer):  # type: ignore[misc]
            def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
                return dataset

            def _prepare_inputs(self, inputs: list[dict[str, int]]) -> Any:
                asked = [items[row["item"]] for row in inputs]
                pairs = objective.pairs(stage, asked, stage.seed("rollouts", self.state.global_step))
                self._metrics["train"]["pairs_per_prompt"].append(len(pairs) / len(asked))
                return super()._prepare_inputs(self.collate_pairs(pairs)) if pairs else {}

            def compute_loss(self, model: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
                if not inputs:  # ties alone: a loss of nothing
                    return sum(0.0 * tensor.sum() for tensor in stage.policy.tensors().values())
                return super().compute_loss(model, inputs, *rest, **options)

        trainer = OnlineDPOTrainer(
            model=stage.policy.model,
            ref_model=None if stage.policy.kind == "adapter" else stage.reference(),
            args=DPOConfig(
                **trainer_arguments(stage, self.prompts_per_step),
                beta=self.beta,
                loss_type=["sigmoid"],
                max_length=None,
            ),
            train_dataset=Dataset.from_list([{"item": place} for place in range(len(items))]),
            processing_class=stage.policy.tokenizer,
            optimizers=optimiser.create(stage),
        )
        trainer.collate_pairs, trainer.data_collator = trainer.data_collator, list
        return trainer

    @property
    def batch_size(self) -> int:
        """Prompts an update."""
        return self.prompts_per_step

    def split(self, inputs: dict[str, Any], parts: int, items: Any) -> list[tuple[dict[str, Any], float]]:
        """Pairs stay together; an update of ties alone stays whole."""
        from harness.micro_batches import split_rows

        return split_rows(inputs, parts, items, blocks=2) if inputs else [(inputs, 1.0)]

    def pairs(self, stage: StageContext, items: Sequence[Item], seed: int) -> list[Pair]:
        """Token ids `prompt_ids`, `chosen_ids`, `rejected_ids` of each question that is no tie."""
        from harness.engines.hf import encode

        asked = [item for item in items for _ in range(self.samples)]
        prompts = [stage.task.prompt(item) for item in asked]
        answers = stage.generate(prompts, stage.sampling(self.temperature), seed)
        found = []
        for first in range(0, len(asked), self.samples):
            group = answers[first : first + self.samples]
            rewards = [stage.task.grade(asked[first], answer.text).reward for answer in group]
            if max(rewards) == min(rewards):
                continue
            best, worst = group[rewards.index(max(rewards))], group[rewards.index(min(rewards))]
            prompt = encode(stage.policy.tokenizer, prompts[first])
            found.append({"prompt_ids": prompt, "chosen_ids": best.token_ids, "rejected_ids": worst.token_ids})
        return found

    def describe(self) -> dict[str, Any]:
        return {
            "beta": self.beta,
            "prompts_per_step": self.prompts_per_step,
            "samples": self.samples,
            "temperature": self.temperature,
        }


def online_preferences(
    beta: float, prompts_per_step: int, samples: int, temperature: float, examples: int
) -> OnlinePreferences:
    """DPO on the best and the worst of `samples` answers that the policy gives now."""
    return OnlinePreferences(beta, prompts_per_step, samples, temperature, examples)
