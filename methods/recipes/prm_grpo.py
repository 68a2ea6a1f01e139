"""Train a process reward model on step labels, then GRPO against its scores alone, in one budget."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.grpo import group_relative
from methods.objectives.process_reward_model import StepWise
from methods.online.reward import Reward
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.parameterisations.untouched import untouched
from methods.settings import (
    BatchSize,
    CompletionsPerPrompt,
    Continuations,
    Delimiter,
    Examples,
    FirstShare,
    GroupSize,
    HeldOut,
    KLBeta,
    LearningRate,
    PromptsPerStep,
    SamplingShare,
    SecondLearningRate,
    StepAggregate,
    StepLabels,
    Temperature,
)


@method(
    "prm-grpo", version=1, source="Wang et al. 2024 (Math-Shepherd), arXiv 2312.08935, section 3, with GRPO for PPO"
)
def prm_grpo(
    learning_rate: LearningRate = 1e-5,
    grpo_learning_rate: SecondLearningRate = 1e-6,
    reward_model_share: FirstShare = 0.4,
    batch_size: BatchSize = 32,
    prompts: Examples = 500,
    samples: CompletionsPerPrompt = 4,
    continuations: Continuations = 8,
    delimiter: Delimiter = "\n",
    labels: StepLabels = "hard",
    aggregate: StepAggregate = "min",
    sampling_share: SamplingShare = 0.6,
    held_out: HeldOut = 0.1,
    group_size: GroupSize = 8,
    prompts_per_step: PromptsPerStep = 16,
    beta: KLBeta = 0.04,
    temperature: Temperature = 1.0,
) -> Pipeline:
    """A process reward model on a share of the budget, group-relative policy optimisation against it on the rest.

    Needs a verifier. Sane: as process-reward-model and grpo; beta 0.02 to 0.1 (the paper 0.04).
    """
    judge = StepWise(
        batch_size,
        prompts,
        samples,
        continuations,
        delimiter,
        labels,
        aggregate,
        temperature,
        sampling_share,
        held_out,
    )
    reward = Reward("process-reward-model", trained_before=True)
    objective = group_relative(group_size, prompts_per_step, beta, temperature, prompts, reward=reward)
    return Pipeline.of(
        Train(judge, untouched(), adamw(learning_rate, "linear"), share=reward_model_share),
        Train(objective, full(), adamw(grpo_learning_rate, "constant")),
    )
