"""REINFORCE: whole completions, weighted by their reward above a running mean; the plainest policy gradient."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.reinforce import ScoreFunction
from methods.online.reward import Reward
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import (
    Baseline,
    BaselineDecay,
    CompletionsPerPrompt,
    Examples,
    LearningRate,
    PromptsPerStep,
    RewardModel,
    RewardSource,
    RewardWeight,
    Schedule,
    Temperature,
)


@method("reinforce", version=1, source="Williams 1992, Machine Learning 8:229, equation 11 and section 5")
def reinforce(
    learning_rate: LearningRate = 1e-6,
    samples: CompletionsPerPrompt = 1,
    prompts_per_step: PromptsPerStep = 128,
    temperature: Temperature = 1.0,
    baseline: Baseline = "running",
    baseline_decay: BaselineDecay = 0.9,
    schedule: Schedule = "constant",
    examples: Examples = 2000,
    reward: RewardSource = "verifier",
    reward_model: RewardModel = None,
    reward_weight: RewardWeight = 1.0,
) -> Pipeline:
    """REINFORCE on all parameters: one on-policy update a batch, the baseline is the running mean reward.

    Needs prompts and a reward. Sane: 64 to 512 completions an update, learning_rate 1e-6 for full fine-tuning and
    1e-5 for LoRA; the sum over tokens makes long completions weigh more.
    """
    objective = ScoreFunction(
        samples,
        prompts_per_step,
        temperature,
        examples,
        baseline,
        baseline_decay,
        Reward(reward, reward_model, reward_weight),
    )
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
