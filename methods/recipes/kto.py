"""KTO on answers that the start model itself produced and the task's verifier judged, one by one."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.kto import labels
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import (
    BatchSize,
    Beta,
    Examples,
    LearningRate,
    SamplesPerPrompt,
    SamplingShare,
    Schedule,
    Temperature,
)


@method("kto", version=1, source="Ethayarajh et al. 2024, arXiv 2402.01306, equations 7 and 8")
def kto(
    learning_rate: LearningRate = 1e-6,
    beta: Beta = 0.1,
    schedule: Schedule = "linear",
    batch_size: BatchSize = 32,
    prompts: Examples = 2000,
    samples: SamplesPerPrompt = 8,
    temperature: Temperature = 1.0,
    sampling_share: SamplingShare = 0.4,
) -> Pipeline:
    """Kahneman-Tversky optimisation on self-sampled, graded answers."""
    objective = labels(beta, batch_size, prompts, samples, temperature, sampling_share)
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
