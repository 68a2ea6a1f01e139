"""LoRA + ES: the same evolution strategy, moving only the low-rank factors: no backward pass, no copy of the base."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.task_reward import task_reward
from methods.optimisers.evolution import evolution
from methods.parameterisations.lora import lora
from methods.settings import AdapterSigma, Examples, LoraAlpha, Population, PromptsPerStep, Rank, StepRatio


@method("lora-es", version=1, source="Qiu et al. 2025, arXiv 2509.24372, section 3, over LoRA (arXiv 2106.09685)")
def lora_es(
    rank: Rank = 8,
    sigma: AdapterSigma = 0.1,
    step_ratio: StepRatio = 0.5,
    population: Population = 32,
    prompts: PromptsPerStep = 100,
    examples: Examples = 2000,
    lora_alpha: LoraAlpha = 8.0,
) -> Pipeline:
    """Evolution strategies over LoRA factors; alpha = step_ratio * sigma."""
    objective = task_reward(prompts, examples)
    return Pipeline.of(Train(objective, lora(rank, lora_alpha), evolution(sigma, step_ratio * sigma, population)))
