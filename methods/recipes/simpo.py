"""SimPO: the mean log-likelihood per token is the reward, a margin is asked for, no reference is kept."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.reference_free import ReferenceFree
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import (
    BatchSize,
    Examples,
    LearningRate,
    Margin,
    PairsPerPrompt,
    SamplesPerPrompt,
    SamplingShare,
    Schedule,
    SimPOBeta,
    Temperature,
)


@method("simpo", version=1, source="Meng et al. 2024, arXiv 2405.14734, equation 6")
def simpo(
    learning_rate: LearningRate = 1e-6,
    beta: SimPOBeta = 2.0,
    gamma: Margin = 1.0,
    schedule: Schedule = "linear",
    batch_size: BatchSize = 32,
    prompts: Examples = 2000,
    samples: SamplesPerPrompt = 8,
    pairs_per_prompt: PairsPerPrompt = 4,
    temperature: Temperature = 1.0,
    sampling_share: SamplingShare = 0.4,
) -> Pipeline:
    """Simple preference optimisation on self-sampled, graded pairs."""
    objective = ReferenceFree(
        "simpo", beta, batch_size, prompts, samples, pairs_per_prompt, temperature, sampling_share, gamma=gamma
    )
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
