"""DPO on pairs that the start model itself produced and the task's verifier judged."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.dpo import preferences
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import (
    BatchSize,
    Beta,
    Examples,
    LearningRate,
    PairsPerPrompt,
    SamplesPerPrompt,
    SamplingShare,
    Schedule,
    Temperature,
)


@method("dpo", version=1, source="Rafailov et al. 2023, arXiv 2305.18290, equation 7")
def dpo(
    learning_rate: LearningRate = 1e-6,
    beta: Beta = 0.1,
    schedule: Schedule = "linear",
    batch_size: BatchSize = 32,
    prompts: Examples = 2000,
    samples: SamplesPerPrompt = 8,
    pairs_per_prompt: PairsPerPrompt = 4,
    temperature: Temperature = 1.0,
    sampling_share: SamplingShare = 0.4,
) -> Pipeline:
    """Direct preference optimisation on self-sampled, graded pairs; the sampling is part of the budget."""
    objective = preferences(beta, batch_size, prompts, samples, pairs_per_prompt, temperature, sampling_share)
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
