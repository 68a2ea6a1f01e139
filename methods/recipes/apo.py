"""APO-zero: 1 - sigmoid(beta r_chosen) + sigmoid(beta r_rejected): right answers up, wrong ones down, each alone."""

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


@method("apo", version=1, source="D'Oosterlinck et al. 2024, arXiv 2408.06266, equation 7")
def apo(
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
    """Anchored preference optimisation (zero) on self-sampled, graded pairs."""
    objective = preferences(
        beta, batch_size, prompts, samples, pairs_per_prompt, temperature, sampling_share, (("apo_zero", 1.0),), "apo"
    )
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
