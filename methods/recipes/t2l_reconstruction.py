"""Text-to-LoRA by reconstruction: a hypernetwork that writes the adapters of a library from their descriptions.

theta <- theta - rate * grad of |h_theta(z) - LoRA|, entry by entry in units of the library's deviation (Charakorn et
al. 2025, arXiv 2506.06105, section 3.1): many trained adapters in one network.
"""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.reconstruction import reconstruction
from methods.optimisers.adamw import adamw
from methods.parameterisations.text_to_lora import text_to_lora
from methods.settings import (
    DescribedExamples,
    GeneratorSize,
    HypernetworkRate,
    Latent,
    Library,
    LoraAlpha,
    Pooling,
    Rank,
    Schedule,
    TargetNames,
    TasksPerStep,
    TextEncoder,
)


@method("t2l-reconstruction", version=1, source="Charakorn et al. 2025, arXiv 2506.06105, section 3.1 and appendix")
def t2l_reconstruction(
    library: Library = None,
    learning_rate: HypernetworkRate = 1e-3,
    size: GeneratorSize = "L",
    rank: Rank = 8,
    alpha: LoraAlpha = 16.0,
    targets: TargetNames = "q_proj,v_proj",
    latent: Latent = 128,
    encoder: TextEncoder = "base",
    pooling: Pooling = "last",
    tasks_per_step: TasksPerStep = 512,
    examples: DescribedExamples = 2000,
    schedule: Schedule = "linear",
) -> Pipeline:
    """Text-to-LoRA, trained to reconstruct a library of task adapters."""
    network = text_to_lora(size, rank, alpha, targets, latent, encoder, pooling, standardised=True)
    return Pipeline.of(
        Train(reconstruction(library, tasks_per_step, examples), network, adamw(learning_rate, schedule))
    )
