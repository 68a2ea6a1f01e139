"""PPO with a learnt value function: advantages a token, several clipped passes over each batch, KL in the reward."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.ppo import ProximalPolicy
from methods.online.reward import Reward
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import (
    CompletionsPerPrompt,
    Discount,
    Epochs,
    Epsilon,
    Examples,
    KLBeta,
    Lambda,
    LearningRate,
    Minibatches,
    PromptsPerStep,
    RewardModel,
    RewardSource,
    RewardWeight,
    Schedule,
    Temperature,
    ValueClip,
    ValueCoefficient,
    ValueLearningRate,
)


@method(
    "ppo", version=2, source="Schulman et al. 2017, arXiv 1707.06347, section 5; Ouyang et al. 2022, arXiv 2203.02155"
)
def ppo(
    learning_rate: LearningRate = 1e-6,
    prompts_per_step: PromptsPerStep = 64,
    samples: CompletionsPerPrompt = 1,
    beta: KLBeta = 0.02,
    temperature: Temperature = 1.0,
    minibatches: Minibatches = 1,
    epochs: Epochs = 4,
    epsilon: Epsilon = 0.2,
    value_learning_rate: ValueLearningRate = 1e-5,
    value_coefficient: ValueCoefficient = 0.1,
    value_clip: ValueClip = 0.2,
    gamma: Discount = 1.0,
    lam: Lambda = 0.95,
    schedule: Schedule = "constant",
    examples: Examples = 2000,
    reward: RewardSource = "verifier",
    reward_model: RewardModel = None,
    reward_weight: RewardWeight = 1.0,
) -> Pipeline:
    """Proximal policy optimisation of all parameters, with a value head that is never a part of the exported policy.

    Needs prompts and a reward. Sane: learning_rate 1e-6 for full fine-tuning and 1e-5 for LoRA, value_learning_rate
    ten times that, beta 0.001 to 0.05, lam 0.95 to 1, epochs 1 to 4 (four as in Stiennon et al. 2020).
    """
    objective = ProximalPolicy(
        prompts_per_step,
        samples,
        beta,
        temperature,
        examples,
        minibatches,
        epochs,
        epsilon,
        value_learning_rate,
        value_coefficient,
        value_clip,
        gamma,
        lam,
        Reward(reward, reward_model, reward_weight),
    )
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
