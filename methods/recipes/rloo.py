"""RLOO: each completion against the mean of its prompt's others; a completion is one action, KL is in the reward."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.rloo import LeaveOneOut
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


@method("rloo", version=1, source="Ahmadian et al. 2024, arXiv 2402.14740, section 2.2")
def rloo(
    learning_rate: LearningRate = 1e-6,
    group_size: GroupSize = 4,
    prompts_per_step: PromptsPerStep = 32,
    beta: KLBeta = 0.03,
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
    """REINFORCE leave-one-out on all parameters.

    Needs prompts and a reward. Sane: group_size 2 to 8, beta 0.03 to 0.05 (0 with a verifier), learning_rate 1e-6 for
    full fine-tuning and 1e-5 for LoRA.
    """
    objective = LeaveOneOut(
        group_size,
        prompts_per_step,
        beta,
        temperature,
        examples,
        minibatches,
        epochs,
        epsilon,
        epsilon_high,
        Reward(reward, reward_model, reward_weight),
    )
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
