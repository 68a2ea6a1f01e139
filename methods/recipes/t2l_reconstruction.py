"""Text-to-LoRA by reconstruction: a hypernetwork that writes the adapters of a library from their descriptions.

theta <- theta - rate * grad of |h_theta(z) - LoRA|, entry by entry in units of the library's deviation (Charakorn et
al. 2025, arXiv 2506.06105, section 3.1): many trained adapters in one network. The library is a directory of finished
runs, or what a first stage trains on its share of the budget: a LoRA for each described task of the training split.
"""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.own_tasks import own_tasks
from methods.objectives.reconstruction import reconstruction
from methods.optimisers.adamw import adamw
from methods.parameterisations.documents import adapter_table
from methods.parameterisations.text_to_lora import text_to_lora
from methods.settings import (
    DescribedExamples,
    FirstShare,
    GeneratorSize,
    HypernetworkRate,
    Latent,
    Library,
    LibraryRate,
    LoraAlpha,
    OwnExamples,
    OwnPasses,
    Pooling,
    Rank,
    Schedule,
    TargetNames,
    TasksPerStep,
    TextEncoder,
)


@method("t2l-reconstruction", version=2, source="Charakorn et al. 2025, arXiv 2506.06105, section 3.1 and appendix")
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
    library_learning_rate: LibraryRate = 8e-5,
    library_share: FirstShare = 0.7,
    library_tasks_per_step: TasksPerStep = 8,
    library_examples: OwnExamples = 500,
    library_passes: OwnPasses = 100,
    schedule: Schedule = "linear",
) -> Pipeline:
    """Text-to-LoRA, trained to reconstruct a library of task adapters."""
    network = text_to_lora(size, rank, alpha, targets, latent, encoder, pooling, standardised=True)
    rebuild = Train(reconstruction(library, tasks_per_step, examples), network, adamw(learning_rate, schedule))
    if library is not None:
        return Pipeline.of(rebuild)
    each = own_tasks(library_tasks_per_step, 8, library_examples, library_passes, described=examples)
    table, optimiser = adapter_table(targets, rank, alpha), adamw(library_learning_rate, schedule)
    return Pipeline.of(Train(each, table, optimiser, share=library_share), rebuild)
