"""A cold start on demonstrations, then DPO on pairs that the tuned model samples: two stages, one budget."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.dpo import preferences
from methods.objectives.sft import demonstrations
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import (
    BatchSize,
    Beta,
    Examples,
    FirstShare,
    LearningRate,
    PairsPerPrompt,
    SamplesPerPrompt,
    SamplingShare,
    SecondLearningRate,
    Temperature,
)


@method("sft-dpo", version=1, source="Rafailov et al. 2023, arXiv 2305.18290, section 4, from an SFT reference")
def sft_dpo(
    learning_rate: LearningRate = 2e-5,
    dpo_learning_rate: SecondLearningRate = 1e-6,
    sft_share: FirstShare = 0.3,
    beta: Beta = 0.1,
    batch_size: BatchSize = 32,
    prompts: Examples = 2000,
    samples: SamplesPerPrompt = 8,
    pairs_per_prompt: PairsPerPrompt = 4,
    temperature: Temperature = 1.0,
    sampling_share: SamplingShare = 0.4,
) -> Pipeline:
    """Supervised fine-tuning, then direct preference optimisation against the tuned model."""
    cold_start = Train(demonstrations(batch_size, prompts), full(), adamw(learning_rate, "linear"), share=sft_share)
    objective = preferences(beta, batch_size, prompts, samples, pairs_per_prompt, temperature, sampling_share)
    return Pipeline.of(cold_start, Train(objective, full(), adamw(dpo_learning_rate, "linear")))
