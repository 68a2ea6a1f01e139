"""GRPO as in DeepSeekMath: group mean and std, loss averaged inside each completion, one on-policy update a batch."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.grpo import group_relative
from methods.online.reward import Reward
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import (
    Epochs,
    Epsilon,
    EpsilonHigh,
    Examples,
    GroupSize,
    KLBeta,
    LearningRate,
    Minibatches,
    PromptsPerStep,
    RewardModel,
    RewardSource,
    RewardWeight,
    Schedule,
    Temperature,
)


@method("grpo", version=1, source="Shao et al. 2024, arXiv 2402.03300, section 4.1")
def grpo(
    learning_rate: LearningRate = 1e-6,
    group_size: GroupSize = 8,
    prompts_per_step: PromptsPerStep = 16,
    beta: KLBeta = 0.0,
    temperature: Temperature = 1.0,
    schedule: Schedule = "constant",
    examples: Examples = 2000,
    minibatches: Minibatches = 1,
    epochs: Epochs = 1,
    epsilon: Epsilon = 0.2,
    epsilon_high: EpsilonHigh = 0.2,
    reward: RewardSource = "verifier",
    reward_model: RewardModel = None,
    reward_weight: RewardWeight = 1.0,
) -> Pipeline:
    """Group-relative policy optimisation of all parameters on the verifiable reward (no KL term by default).

    Needs prompts and a reward. Sane: group_size 8 to 64, beta 0 to 0.04, learning_rate 3e-7 to 5e-6 for full
    fine-tuning and 1e-5 to 5e-5 for LoRA. With minibatches x epochs = 1 the ratio is exactly 1 and epsilon idle.
    """
    objective = group_relative(
        group_size,
        prompts_per_step,
        beta,
        temperature,
        examples,
        minibatches=minibatches,
        epochs=epochs,
        epsilon=epsilon,
        epsilon_high=epsilon_high,
        reward=Reward(reward, reward_model, reward_weight),
    )
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
