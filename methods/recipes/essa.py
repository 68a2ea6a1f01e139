"""ESSA: supervised fine-tuning of a LoRA, then CMA-ES on the singular values of its factors, by forward passes alone.

Korotyshova et al. 2025 (arXiv 2507.04453): LoRA on the attention's linear layers, singular vectors of A and B frozen,
a search space of layers x matrices x 2 x rank numbers. Defaults are table 7's: rank 8, population 96, all singular
values, 100 prompts; the share of the budget for the first stage and the first step size are not given there.
"""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.sft import demonstrations
from methods.objectives.task_reward import task_reward
from methods.optimisers.adamw import adamw
from methods.optimisers.singular_values import singular_value_search
from methods.parameterisations.lora import lora
from methods.settings import (
    AdapterLearningRate,
    BatchSize,
    Examples,
    FirstShare,
    Fraction,
    LoraAlpha,
    Population,
    PromptsPerStep,
    Rank,
    SearchSigma,
    Targets,
)
from methods.transforms.squeeze_stage import Kept


@method("essa", version=1, source="Korotyshova et al. 2025, arXiv 2507.04453")
def essa(
    learning_rate: AdapterLearningRate = 2e-4,
    sigma: SearchSigma = 0.1,
    rank: Rank = 8,
    population: Population = 96,
    fraction: Fraction = 1.0,
    sft_share: FirstShare = 0.3,
    prompts: PromptsPerStep = 100,
    batch_size: BatchSize = 32,
    examples: Examples = 2000,
    lora_alpha: LoraAlpha = 16.0,
    targets: Targets = "attention",
) -> Pipeline:
    """A LoRA fine-tuned on demonstrations, then its singular values evolved by CMA-ES."""
    adapter = lora(rank, lora_alpha, targets)
    cold_start = Train(demonstrations(batch_size, examples), adapter, adamw(learning_rate, "linear"), share=sft_share)
    search = singular_value_search(sigma, population, fraction)
    return Pipeline.of(cold_start, Train(task_reward(prompts, examples), Kept(), search))
