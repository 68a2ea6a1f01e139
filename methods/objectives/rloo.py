"""RLOO: REINFORCE with the mean reward of a prompt's other completions as the baseline of each.

-mean_i min(rho_i A_i, clip(rho_i, 1 - epsilon, 1 + epsilon_high) A_i), A_i = R_i - mean_{j != i} R_j, rho_i the ratio
of whole completions' likelihoods, R = reward - beta sum_t log pi/pi_ref towards the start policy (Ahmadian et al.
2024, arXiv 2402.14740, section 2.2, which is the on-policy case rho = 1). By TRL's RLOOTrainer, over completions of
the harness's engine. Further `minibatches` or `epochs` are off-policy; ratios of whole completions soon leave the clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import GradientOptimiser, Offer, Signal, Task
from methods.objectives.parts import Inputs, in_parts, trim_right
from methods.online.reward import VERIFIED, Reward
from methods.online.sampler import Sampler

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness.spec import ModelReference


@dataclass(frozen=True)
class LeaveOneOut:
    """Reinforce what did better than its siblings."""

    group_size: int
    prompts_per_step: int
    beta: float
    temperature: float
    examples: int
    minibatches: int = 1
    epochs: int = 1
    epsilon: float = 0.2
    epsilon_high: float = 0.2
    reward: Reward = VERIFIED
    name = "rloo"
    gives: frozenset[Signal] = frozenset({"gradient"})

    @property
    def needs(self) -> frozenset[Offer]:
        return self.reward.needs

    @property
    def holds_reference(self) -> bool:
        """Whether KL is taken towards a frozen start policy."""
        return self.beta > 0

    @property
    def batch_size(self) -> int:
        """Completions an update."""
        return self.group_size * self.prompts_per_step

    def refuses(self, task: Task, model: ModelReference | None) -> str | None:
        """A reward that the task or the given reward model cannot give."""
        return self.reward.refuses(task, model)

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """An RLOOTrainer whose rollouts and rewards come from the stage."""
        from datasets import Dataset
        from trl import RLOOConfig, RLOOTrainer

        from harness.engines.hf import encode
        from harness.gradient_loop import trainer_arguments
        from methods.online.kept import keep_rollouts

        items = list(stage.train_items(self.examples))
        task = stage.task
        sampler = Sampler(stage, items, self.reward.scorer(stage), self.group_size, self.temperature)

        class Sampling(in_parts(RLOOTrainer, _lengths, _trimmed)):  # type: ignore[misc]
            """RLOOTrainer has no `rollout_func`: these two are where it tokenises and generates."""

            def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
                return [encode(stage.policy.tokenizer, prompt) for prompt in prompts], None, {}

            def _generate_single_turn(self, *_: Any) -> list[list[int]]:
                return [answer.token_ids for answer in self.sampled.answers]

        def reward(**_: Any) -> list[float]:
            return trainer.sampled.rewards  # type: ignore[no-any-return]

        trainer = keep_rollouts(Sampling, sampler.sample, self.group_size, exact=self.beta == 0)(
            model=stage.policy.model,
            reward_funcs=reward,
            args=RLOOConfig(
                **trainer_arguments(stage, self.batch_size),
                num_generations=self.group_size,
                generation_batch_size=self.batch_size * self.minibatches,
                num_iterations=self.epochs,
                epsilon=self.epsilon,
                epsilon_high=self.epsilon_high,
                beta=self.beta,
                normalize_advantages=False,
                temperature=self.temperature,
                max_completion_length=stage.sampling(self.temperature).max_new_tokens,
            ),
            train_dataset=Dataset.from_list(
                [{"prompt": task.prompt(item), "item_index": index} for index, item in enumerate(items)]
            ),
            processing_class=stage.policy.tokenizer,
            optimizers=optimiser.create(stage),
        )
        return trainer

    def describe(self) -> dict[str, Any]:
        return {
            "group_size": self.group_size,
            "prompts_per_step": self.prompts_per_step,
            "beta": self.beta,
            "temperature": self.temperature,
            "updates_per_batch": f"{self.minibatches} minibatches x {self.epochs} epochs",
            "clipped": f"{1 - self.epsilon:g} to {1 + self.epsilon_high:g}",
            **self.reward.describe(),
        }


def _lengths(inputs: Inputs) -> Any:
    return inputs["completion_mask"].sum(-1)


def _trimmed(inputs: Inputs) -> Inputs:
    return trim_right(inputs, "completion_mask", ("completion_ids", "completion_mask"))
