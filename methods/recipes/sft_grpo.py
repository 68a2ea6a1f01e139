"""A cold start on demonstrations, then GRPO from there: two stages, one budget."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.grpo import group_relative
from methods.objectives.sft import demonstrations
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import (
    BatchSize,
    Examples,
    FirstShare,
    GroupSize,
    LearningRate,
    PromptsPerStep,
    SecondLearningRate,
    Temperature,
)


@method("sft-grpo", version=1, source="DeepSeek-AI 2025 (R1), arXiv 2501.12948, section 2.3, its first two stages")
def sft_grpo(
    learning_rate: LearningRate = 2e-5,
    grpo_learning_rate: SecondLearningRate = 1e-6,
    sft_share: FirstShare = 0.3,
    batch_size: BatchSize = 32,
    group_size: GroupSize = 8,
    prompts_per_step: PromptsPerStep = 16,
    temperature: Temperature = 1.0,
    examples: Examples = 2000,
) -> Pipeline:
    """Supervised fine-tuning on a share of the budget, group-relative policy optimisation on the rest."""
    cold_start = Train(demonstrations(batch_size, examples), full(), adamw(learning_rate, "linear"), share=sft_share)
    objective = group_relative(group_size, prompts_per_step, 0.0, temperature, examples)
    return Pipeline.of(cold_start, Train(objective, full(), adamw(grpo_learning_rate, "constant")))
