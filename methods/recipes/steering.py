"""Activation steering: add the difference between the mean activations on right and on wrong completions.

Rimsky et al. 2024 (contrastive activation addition, arXiv 2312.06681), section 3: no weight changes and nothing is
trained by gradient. Strengths of 0.5 to 2 are theirs (section 4); the best depth is near the middle.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from harness.contracts import Pipeline, Train
from harness.parameters import Search
from harness.registry import method
from methods.objectives.contrast import contrast
from methods.optimisers.difference_of_means import difference_of_means
from methods.parameterisations.steering import Strength, vector
from methods.settings import BatchSize, SamplesPerPrompt, SamplingShare, Temperature

SteeringDepth = Annotated[
    float, Field(ge=0, le=1), Search(0.2, 0.9), "block that the vector is added after, as a share of all"
]
Prompts = Annotated[int, Field(ge=1), "training prompts that pairs are sampled for"]


@method("steering", version=1, source="Rimsky et al. 2024, arXiv 2312.06681, section 3")
def steering(
    depth: SteeringDepth = 0.5,
    strength: Strength = 1.0,
    batch_size: BatchSize = 32,
    prompts: Prompts = 2000,
    samples: SamplesPerPrompt = 8,
    temperature: Temperature = 1.0,
    sampling_share: SamplingShare = 0.5,
) -> Pipeline:
    """A difference-of-means vector in the residual stream, without training."""
    objective = contrast(batch_size, prompts, samples, temperature, sampling_share)
    return Pipeline.of(Train(objective, vector(depth, strength), difference_of_means()))
