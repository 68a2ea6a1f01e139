"""CPO: a preference loss without a reference, held by the likelihood of the right answer."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.reference_free import ReferenceFree
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import (
    BatchSize,
    Beta,
    Examples,
    LearningRate,
    NLLWeight,
    PairsPerPrompt,
    SamplesPerPrompt,
    SamplingShare,
    Schedule,
    Temperature,
)


@method("cpo", version=1, source="Xu et al. 2024, arXiv 2401.08417, equations 3 to 6")
def cpo(
    learning_rate: LearningRate = 1e-6,
    beta: Beta = 0.1,
    alpha: NLLWeight = 1.0,
    schedule: Schedule = "linear",
    batch_size: BatchSize = 32,
    prompts: Examples = 2000,
    samples: SamplesPerPrompt = 8,
    pairs_per_prompt: PairsPerPrompt = 4,
    temperature: Temperature = 1.0,
    sampling_share: SamplingShare = 0.4,
) -> Pipeline:
    """Contrastive preference optimisation on self-sampled, graded pairs."""
    objective = ReferenceFree(
        "cpo", beta, batch_size, prompts, samples, pairs_per_prompt, temperature, sampling_share, alpha=alpha
    )
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
