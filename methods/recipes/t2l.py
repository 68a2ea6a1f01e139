"""Text-to-LoRA: a hypernetwork that writes a LoRA from a task's description, trained end to end over many tasks.

theta <- theta - rate * grad of -log pi(y | x; W + h_theta(z)): the description z is read by the hypernetwork alone, the
base never changes (Charakorn et al. 2025, arXiv 2506.06105, section 3.2). The run leaves the generator, not a model.
Without the weight decay, NEFTune noise and LoRA dropout of the published scripts.
"""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.described_tasks import described_tasks
from methods.optimisers.adamw import adamw
from methods.parameterisations.text_to_lora import text_to_lora
from methods.settings import (
    DescribedExamples,
    GeneratorSize,
    HypernetworkRate,
    Latent,
    LoraAlpha,
    Penalty,
    PointsPerTask,
    Pooling,
    Rank,
    Schedule,
    Smoothing,
    TargetNames,
    TasksPerStep,
    TextEncoder,
)


@method(
    "t2l", version=1, source="Charakorn et al. 2025, arXiv 2506.06105, section 3.2, appendix F and published scripts"
)
def t2l(
    learning_rate: HypernetworkRate = 2.5e-5,
    size: GeneratorSize = "L",
    rank: Rank = 8,
    alpha: LoraAlpha = 16.0,
    targets: TargetNames = "q_proj,v_proj",
    latent: Latent = 128,
    encoder: TextEncoder = "base",
    pooling: Pooling = "last",
    tasks_per_step: TasksPerStep = 8,
    points: PointsPerTask = 1,
    examples: DescribedExamples = 20000,
    label_smoothing: Smoothing = 0.1,
    penalty: Penalty = 1e-3,
    schedule: Schedule = "linear",
) -> Pipeline:
    """Text-to-LoRA, trained on the demonstrations of many described tasks."""
    network = text_to_lora(size, rank, alpha, targets, latent, encoder, pooling)
    objective = described_tasks(tasks_per_step, points, examples, label_smoothing, penalty)
    return Pipeline.of(Train(objective, network, adamw(learning_rate, schedule)))
