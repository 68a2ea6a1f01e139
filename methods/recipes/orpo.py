"""ORPO: supervised fine-tuning on right answers with a penalty on the odds of wrong ones."""

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
    OddsWeight,
    PairsPerPrompt,
    SamplesPerPrompt,
    SamplingShare,
    Schedule,
    Temperature,
)


@method("orpo", version=1, source="Hong et al. 2024, arXiv 2403.07691, equations 6 and 7")
def orpo(
    learning_rate: LearningRate = 8e-6,
    odds_weight: OddsWeight = 0.1,
    schedule: Schedule = "linear",
    batch_size: BatchSize = 32,
    prompts: Examples = 2000,
    samples: SamplesPerPrompt = 8,
    pairs_per_prompt: PairsPerPrompt = 4,
    temperature: Temperature = 1.0,
    sampling_share: SamplingShare = 0.4,
) -> Pipeline:
    """Odds-ratio preference optimisation on self-sampled, graded pairs."""
    objective = ReferenceFree(
        "orpo", odds_weight, batch_size, prompts, samples, pairs_per_prompt, temperature, sampling_share
    )
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
