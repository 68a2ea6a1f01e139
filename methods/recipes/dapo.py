"""DAPO: GRPO with a higher upper clip, every token of equal weight, no KL, length punished softly, dynamic sampling.

Groups whose completions all score the same teach nothing and are replaced by samples of further prompts until the
batch is full (section 3.2); what they cost is charged like everything else, `groups_dropped` says their share.
"""

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
    MaskTruncated,
    Minibatches,
    OverlongShare,
    PromptsPerStep,
    RewardModel,
    RewardSource,
    RewardWeight,
    SamplingRounds,
    Schedule,
    Temperature,
)


@method("dapo", version=1, source="Yu et al. 2025, arXiv 2503.14476, sections 3.1 to 3.4 and 4.1")
def dapo(
    learning_rate: LearningRate = 1e-6,
    group_size: GroupSize = 16,
    prompts_per_step: PromptsPerStep = 8,
    temperature: Temperature = 1.0,
    schedule: Schedule = "constant",
    examples: Examples = 2000,
    minibatches: Minibatches = 4,
    epochs: Epochs = 1,
    epsilon: Epsilon = 0.2,
    epsilon_high: EpsilonHigh = 0.28,
    sampling_rounds: SamplingRounds = 10,
    overlong_share: OverlongShare = 0.2,
    mask_truncated: MaskTruncated = True,
    reward: RewardSource = "verifier",
    reward_model: RewardModel = None,
    reward_weight: RewardWeight = 1.0,
) -> Pipeline:
    """Decoupled clip and dynamic sampling policy optimisation of all parameters.

    Needs prompts and a reward. Sane: group_size 16, epsilon_high 0.28, learning_rate 1e-6 for full fine-tuning and
    1e-5 for LoRA. The paper makes 16 updates of 32 prompts from a batch of 512 and punishes the last 4,096 of 20,480
    tokens; with one update a batch the upper clip is idle. A part of a batch is divided by the mean count of tokens
    of the batch's parts.
    """
    objective = group_relative(
        group_size,
        prompts_per_step,
        0.0,
        temperature,
        examples,
        "dapo",
        minibatches=minibatches,
        epochs=epochs,
        epsilon=epsilon,
        epsilon_high=epsilon_high,
        reward=Reward(reward, reward_model, reward_weight),
        sampling_rounds=sampling_rounds,
        overlong_share=overlong_share,
        mask_truncated=mask_truncated,
    )
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
