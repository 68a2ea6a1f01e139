"""GSPO: GRPO with one ratio a completion, the geometric mean of its tokens', and a clip narrow enough for it."""

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


@method("gspo", version=1, source="Zheng et al. 2025, arXiv 2507.18071, equations 5 to 7 and section 5.1")
def gspo(
    learning_rate: LearningRate = 1e-6,
    group_size: GroupSize = 8,
    prompts_per_step: PromptsPerStep = 16,
    temperature: Temperature = 1.0,
    schedule: Schedule = "constant",
    examples: Examples = 2000,
    minibatches: Minibatches = 4,
    epochs: Epochs = 1,
    epsilon: Epsilon = 3e-4,
    epsilon_high: EpsilonHigh = 4e-4,
    reward: RewardSource = "verifier",
    reward_model: RewardModel = None,
    reward_weight: RewardWeight = 1.0,
) -> Pipeline:
    """Group sequence policy optimisation of all parameters: four updates a batch, as in the paper; no KL term.

    Needs prompts and a reward. Sane: epsilon 3e-4 and epsilon_high 4e-4, learning_rate as grpo. With
    minibatches x epochs = 1 it is grpo with one weight a completion and nothing is clipped.
    """
    objective = group_relative(
        group_size,
        prompts_per_step,
        0.0,
        temperature,
        examples,
        "gspo",
        minibatches=minibatches,
        epochs=epochs,
        epsilon=epsilon,
        epsilon_high=epsilon_high,
        reward=Reward(reward, reward_model, reward_weight),
    )
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
