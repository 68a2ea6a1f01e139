"""Group-relative policy optimisation: advantage = (reward - group mean) / group std, clipped policy gradient.

By TRL's GRPOTrainer, over completions of the harness's engine, so that they are timed and charged like any other
method's. With rho_t = pi(y_t) / pi_old(y_t), A the advantage and [l, h] = [1 - epsilon, 1 + epsilon_high], minimised is

grpo     -mean_i 1/|y_i| sum_t min(rho_t A_i, clip(rho_t, l, h) A_i) + beta KL    (Shao et al. 2024, 2402.03300, 3)
dr-grpo  -1/(N L) sum_i sum_t min(..), A = reward - group mean, L the longest allowed  (Liu et al. 2025, 2503.20783)
dapo     -1/(sum_i |y_i|) sum_i sum_t min(..): every token of the batch weighs the same  (Yu et al. 2025, 2503.14476)
gspo     -mean_i min(s_i A_i, clip(s_i, l, h) A_i), s_i = exp(mean_t log rho_t)    (Zheng et al. 2025, 2507.18071, 5)

KL is k3 = pi_ref/pi - log pi_ref/pi - 1 a token, towards the start policy. From one batch of rollouts come
`minibatches` x `epochs` updates; with one of each rho is 1, and clipping and the kind of ratio are without effect.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.contracts import GradientOptimiser, Offer, Signal, Task
from methods.objectives.parts import Inputs, in_parts, trim_right
from methods.online.reward import VERIFIED, Reward
from methods.online.sampler import Sampled, Sampler

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness.spec import ModelReference

Variant = Literal["grpo", "dr_grpo", "dapo", "gspo"]
_TRL: dict[Variant, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo", "scale_rewards": "group"},
    "dr_grpo": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "dapo": {"loss_type": "dapo", "scale_rewards": "group"},
    "gspo": {"loss_type": "grpo", "scale_rewards": "group", "importance_sampling_level": "sequence"},
}


@dataclass(frozen=True)
class GroupRelative:
    """Reinforce what did better than its group."""

    group_size: int
    prompts_per_step: int
    beta: float
    temperature: float
    examples: int
    variant: Variant = "grpo"
    minibatches: int = 1
    epochs: int = 1
    epsilon: float = 0.2
    epsilon_high: float = 0.2
    reward: Reward = VERIFIED
    sampling_rounds: int = 0
    overlong_share: float = 0.0
    mask_truncated: bool = False
    names: ClassVar[tuple[str, ...]] = ("grpo", "dr-grpo", "dapo", "gspo")
    gives: frozenset[Signal] = frozenset({"gradient"})

    @property
    def name(self) -> str:
        return self.variant.replace("_", "-")

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

    def split(self, inputs: Inputs, parts: int, items: Any) -> list[tuple[Inputs, float]]:
        """Rows; DAPO's loss is divided by the tokens of the whole batch, so that its parts just add up."""
        from harness.micro_batches import split_rows

        return split_rows(inputs, parts, True if self.variant == "dapo" else items)

    def refuses(self, task: Task, model: ModelReference | None) -> str | None:
        """A reward that the task or the given reward model cannot give."""
        return self.reward.refuses(task, model)

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """A GRPOTrainer whose rollouts and rewards come from the stage."""
        from datasets import Dataset
        from trl import GRPOConfig, GRPOTrainer

        from harness.engines.hf import encode
        from harness.gradient_loop import trainer_arguments
        from methods.online.kept import keep_rollouts

        items = list(stage.train_items(self.examples))
        task = stage.task
        limit = stage.sampling(self.temperature).max_new_tokens
        scorer = self.reward.scorer(stage)
        sampler = Sampler(stage, items, scorer, self.group_size, self.temperature, self.sampling_rounds)

        def sample(asked: list[int], update: int) -> Sampled:
            sampled = sampler.sample(asked, update)
            punished = [
                reward + overlong(len(answer.token_ids), limit, self.overlong_share)
                for reward, answer in zip(sampled.rewards, sampled.answers, strict=True)
            ]
            return replace(sampled, rewards=punished)

        def rollout(prompts: list[Any], trainer: Any) -> dict[str, list[Any]]:
            sampled: Sampled = trainer.sampled
            answers = sampled.answers
            fields: dict[str, list[Any]] = {
                "prompt_ids": [encode(stage.policy.tokenizer, task.prompt(items[i])) for i in sampled.indices],
                "completion_ids": [answer.token_ids for answer in answers],
                "logprobs": [answer.logprobs for answer in answers],
            }
            if self.sampling_rounds:
                pairs = zip(answers, sampled.used, strict=True)
                fields["env_mask"] = [[int(used)] * len(answer.token_ids) for answer, used in pairs]
            return fields

        def reward(log_metric: Any, **_: Any) -> list[float]:
            sampled: Sampled = trainer.sampled
            for name, value in sampled.values.items():
                log_metric(name, value)
            return sampled.rewards

        kind = in_parts(GRPOTrainer, _lengths, _trimmed, summed=self.variant == "dapo")
        trainer = keep_rollouts(kind, sample, self.group_size, exact=True)(
            model=stage.policy.model,
            reward_funcs=reward,
            args=GRPOConfig(
                **trainer_arguments(stage, self.batch_size),
                **_TRL[self.variant],
                num_generations=self.group_size,
                generation_batch_size=self.batch_size * self.minibatches,
                num_iterations=self.epochs,
                epsilon=self.epsilon,
                epsilon_high=self.epsilon_high,
                beta=self.beta,
                use_bias_correction_kl=False,
                mask_truncated_completions=self.mask_truncated,
                temperature=self.temperature,
                max_completion_length=limit,
            ),
            train_dataset=Dataset.from_list(
                [{"prompt": task.prompt(item), "item_index": index} for index, item in enumerate(items)]
            ),
            processing_class=stage.policy.tokenizer,
            optimizers=optimiser.create(stage),
            rollout_func=rollout,
        )
        return trainer

    def describe(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "group_size": self.group_size,
            "prompts_per_step": self.prompts_per_step,
            "beta": self.beta,
            "temperature": self.temperature,
            "loss": self.variant,
            "updates_per_batch": f"{self.minibatches} minibatches x {self.epochs} epochs",
            "clipped": f"{1 - self.epsilon:g} to {1 + self.epsilon_high:g}",
            **self.reward.describe(),
        }
        if self.variant == "dapo":
            shown["dynamic_sampling"] = f"at most {self.sampling_rounds} rounds" if self.sampling_rounds else "none"
            shown["overlong"] = f"punished over the last {self.overlong_share:.0%}" if self.overlong_share else "none"
            shown["truncated"] = "left out of the loss" if self.mask_truncated else "in the loss"
        return shown


def overlong(tokens: int, limit: int, share: float) -> float:
    """DAPO's soft punishment (equation 13): 0, then falling to -1 over the last `share` of the `limit` on tokens."""
    allowed = limit - share * limit
    return 0.0 if tokens <= allowed else (allowed - tokens) / (limit - allowed)


def _lengths(inputs: Inputs) -> Any:
    return inputs["completion_mask"].sum(-1)


def _trimmed(inputs: Inputs) -> Inputs:
    keys = ("completion_ids", "completion_mask", "tool_mask", "old_per_token_logps", "ref_per_token_logps")
    return trim_right(inputs, "completion_mask", (*keys, "sampling_per_token_logps"))


def group_relative(
    group_size: int,
    prompts_per_step: int,
    beta: float,
    temperature: float,
    examples: int,
    variant: Variant = "grpo",
    **further: Any,
) -> GroupRelative:
    """GRPO or one of its kin on a reward; `further` are the fields of `GroupRelative` that have defaults."""
    return GroupRelative(group_size, prompts_per_step, beta, temperature, examples, variant, **further)
