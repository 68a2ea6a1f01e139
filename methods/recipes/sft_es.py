"""A cold start on demonstrations, then evolution strategies from there: two stages, one budget."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.sft import demonstrations
from methods.objectives.task_reward import task_reward
from methods.optimisers.adamw import adamw
from methods.optimisers.evolution import evolution
from methods.parameterisations.full import full
from methods.settings import BatchSize, Examples, FirstShare, LearningRate, Population, PromptsPerStep, Sigma, StepRatio


@method("sft-es", version=2, source="Qiu et al. 2025, arXiv 2509.24372, section 3, after supervised fine-tuning")
def sft_es(
    learning_rate: LearningRate = 2e-5,
    sigma: Sigma = 1e-3,
    sft_share: FirstShare = 0.3,
    step_ratio: StepRatio = 0.5,
    batch_size: BatchSize = 32,
    population: Population = 30,
    prompts: PromptsPerStep = 200,
    examples: Examples = 2000,
) -> Pipeline:
    """Supervised fine-tuning on a share of the budget, evolution strategies on the rest."""
    cold_start = Train(demonstrations(batch_size, examples), full(), adamw(learning_rate, "linear"), share=sft_share)
    search = evolution(sigma, step_ratio * sigma, population)
    return Pipeline.of(cold_start, Train(task_reward(prompts, examples), full(), search))
