"""Group-relative policy optimisation: advantage = (reward - group mean) / group std, clipped policy gradient.

Shao et al. 2024 (DeepSeekMath, arXiv 2402.03300), equation 3, by TRL's GRPOTrainer with `loss_type="grpo"` (the mean
over tokens inside a completion, then over completions) and the KL estimate k3 when `beta` > 0. Completions come from
the harness's engine, so that they are timed and charged like any other method's. One update a batch: on-policy.
The variant `dr_grpo` (Liu et al. 2025, arXiv 2503.20783, section 3.2) does not divide by the group's std, and divides
the sum over tokens by a constant, the longest completion there may be, instead of by each completion's length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.contracts import GradientOptimiser, Offer, Signal
from methods.objectives.parts import Inputs, in_parts, trim_right

if TYPE_CHECKING:
    from harness.context import StageContext

Variant = Literal["grpo", "dr_grpo"]


@dataclass(frozen=True)
class GroupRelative:
    """Reinforce what did better than its group."""

    group_size: int
    prompts_per_step: int
    beta: float
    temperature: float
    examples: int
    variant: Variant = "grpo"
    name: str = "grpo"
    names: ClassVar[tuple[str, ...]] = ("grpo", "dr-grpo")
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset({"verifier"})

    @property
    def batch_size(self) -> int:
        """Completions an update."""
        return self.group_size * self.prompts_per_step

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """A GRPOTrainer whose rollouts and rewards come from the stage."""
        from datasets import Dataset
        from trl import GRPOConfig, GRPOTrainer

        from harness.gradient_loop import trainer_arguments

        items = list(stage.train_items(self.examples))
        task = stage.task

        def reward(completions: list[Any], item_index: list[int], **_: Any) -> list[float]:
            texts = [text if isinstance(text, str) else text[-1]["content"] for text in completions]
            grades = [task.grade(items[i], text) for i, text in zip(item_index, texts, strict=True)]
            return [grade.reward for grade in grades]

        def rollout(prompts: list[Any], trainer: Any) -> dict[str, list[Any]]:
            answers = stage.generate(
                prompts, stage.sampling(self.temperature), stage.seed("rollouts", trainer.state.global_step)
            )
            return {
                "prompt_ids": [encode(stage.policy.tokenizer, prompt) for prompt in prompts],
                "completion_ids": [answer.token_ids for answer in answers],
                "logprobs": [answer.logprobs for answer in answers],
            }

        from harness.engines.hf import encode

        return in_parts(GRPOTrainer, _lengths, _trimmed)(
            model=stage.policy.model,
            reward_funcs=reward,
            args=GRPOConfig(
                **trainer_arguments(stage, self.batch_size),
                num_generations=self.group_size,
                generation_batch_size=self.batch_size,
                num_iterations=1,
                beta=self.beta,
                loss_type=self.variant,
                scale_rewards="group" if self.variant == "grpo" else "none",
                use_bias_correction_kl=False,
                temperature=self.temperature,
                max_completion_length=stage.sampling(self.temperature).max_new_tokens,
            ),
            train_dataset=Dataset.from_list(
                [{"prompt": task.prompt(item), "item_index": index} for index, item in enumerate(items)]
            ),
            processing_class=stage.policy.tokenizer,
            optimizers=optimiser.create(stage),
            rollout_func=rollout,
        )

    def describe(self) -> dict[str, Any]:
        return {
            "group_size": self.group_size,
            "prompts_per_step": self.prompts_per_step,
            "beta": self.beta,
            "temperature": self.temperature,
            "loss": self.variant,
        }


def _lengths(inputs: Inputs) -> Any:
    return inputs["completion_mask"].sum(-1)


def _trimmed(inputs: Inputs) -> Inputs:
    keys = ("completion_ids", "completion_mask", "old_per_token_logps", "ref_per_token_logps")
    return trim_right(inputs, "completion_mask", (*keys, "sampling_per_token_logps"))


def group_relative(
    group_size: int,
    prompts_per_step: int,
    beta: float,
    temperature: float,
    examples: int,
    variant: Variant = "grpo",
) -> GroupRelative:
    """GRPO, or Dr. GRPO, on the task's verifiable reward."""
    name = {"grpo": "grpo", "dr_grpo": "dr-grpo"}[variant]
    return GroupRelative(group_size, prompts_per_step, beta, temperature, examples, variant, name)
