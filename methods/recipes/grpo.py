"""GRPO as in DeepSeekMath: group mean and std, loss averaged inside each completion, one on-policy update a batch."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.grpo import group_relative
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import Examples, GroupSize, KLBeta, LearningRate, PromptsPerStep, Schedule, Temperature


@method("grpo", version=1, source="Shao et al. 2024, arXiv 2402.03300, section 4.1")
def grpo(
    learning_rate: LearningRate = 1e-6,
    group_size: GroupSize = 8,
    prompts_per_step: PromptsPerStep = 16,
    beta: KLBeta = 0.0,
    temperature: Temperature = 1.0,
    schedule: Schedule = "constant",
    examples: Examples = 2000,
) -> Pipeline:
    """Group-relative policy optimisation of all parameters on the verifiable reward (no KL term by default)."""
    objective = group_relative(group_size, prompts_per_step, beta, temperature, examples)
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
