"""IPO: (h - 1 / (2 beta))^2 with h the difference of the mean log-ratios per token: it stops pulling at a margin.

The division by length is TRL's, which its authors report to be that of the paper's experiments; the loss of the
untouched policy is (1 / (2 beta))^2.
"""

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


@method("ipo", version=1, source="Azar et al. 2023, arXiv 2310.12036, equation 17")
def ipo(
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
    """Identity preference optimisation on self-sampled, graded pairs."""
    objective = preferences(
        beta, batch_size, prompts, samples, pairs_per_prompt, temperature, sampling_share, (("ipo", 1.0),), "ipo"
    )
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
