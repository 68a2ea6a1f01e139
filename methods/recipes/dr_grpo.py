"""Dr. GRPO: no division by the group's standard deviation, none by a completion's length."""

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
    LearningRate,
    Minibatches,
    PromptsPerStep,
    RewardModel,
    RewardSource,
    RewardWeight,
    Schedule,
    Temperature,
)


@method("dr-grpo", version=1, source="Liu et al. 2025, arXiv 2503.20783, section 3.2")
def dr_grpo(
    learning_rate: LearningRate = 1e-6,
    group_size: GroupSize = 8,
    prompts_per_step: PromptsPerStep = 16,
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
    """GRPO with advantage = reward - group mean, summed over tokens and divided by a constant length; no KL term.

    Needs prompts and a reward. Sane: as grpo; advantages are smaller without the division by their spread, and the
    constant is the longest completion allowed, so the best learning rate moves with that limit.
    """
    objective = group_relative(
        group_size,
        prompts_per_step,
        0.0,
        temperature,
        examples,
        "dr_grpo",
        minibatches=minibatches,
        epochs=epochs,
        epsilon=epsilon,
        epsilon_high=epsilon_high,
        reward=Reward(reward, reward_model, reward_weight),
    )
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
