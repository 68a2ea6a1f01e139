"""Train a reward model on graded samples, then GRPO against its scores alone: RLHF's two stages in one budget."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.grpo import group_relative
from methods.objectives.reward_model import BradleyTerry
from methods.online.reward import Reward
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.parameterisations.untouched import untouched
from methods.settings import (
    BatchSize,
    Examples,
    FirstShare,
    GroupSize,
    HeldOut,
    KLBeta,
    LearningRate,
    PairsPerPrompt,
    PromptsPerStep,
    SamplesPerPrompt,
    SamplingShare,
    SecondLearningRate,
    Temperature,
)


@method("rm-grpo", version=1, source="Ouyang et al. 2022, arXiv 2203.02155, section 3.5, with GRPO in place of PPO")
def rm_grpo(
    learning_rate: LearningRate = 1e-5,
    grpo_learning_rate: SecondLearningRate = 1e-6,
    reward_model_share: FirstShare = 0.3,
    batch_size: BatchSize = 32,
    prompts: Examples = 2000,
    samples: SamplesPerPrompt = 8,
    pairs_per_prompt: PairsPerPrompt = 4,
    sampling_share: SamplingShare = 0.5,
    held_out: HeldOut = 0.1,
    group_size: GroupSize = 8,
    prompts_per_step: PromptsPerStep = 16,
    beta: KLBeta = 0.04,
    temperature: Temperature = 1.0,
) -> Pipeline:
    """A Bradley-Terry reward model on a share of the budget, group-relative policy optimisation against it on the rest.

    Needs preferences, given or made by a verifier. Sane: as reward-model and grpo; beta 0.02 to 0.1, for a learned
    reward can be exploited where a verifier cannot.
    """
    judge = BradleyTerry(batch_size, prompts, samples, pairs_per_prompt, temperature, sampling_share, held_out)
    reward = Reward("reward-model", trained_before=True)
    objective = group_relative(group_size, prompts_per_step, beta, temperature, prompts, reward=reward)
    return Pipeline.of(
        Train(judge, untouched(), adamw(learning_rate, "linear"), share=reward_model_share),
        Train(objective, full(), adamw(grpo_learning_rate, "constant")),
    )
