"""Supervised fine-tuning on the task's demonstrations, all parameters, completion tokens only."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.sft import demonstrations
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import BatchSize, Examples, LearningRate, Schedule


@method("sft", version=1, source="Ouyang et al. 2022, arXiv 2203.02155, section 3.1")
def sft(
    learning_rate: LearningRate = 2e-5,
    schedule: Schedule = "linear",
    batch_size: BatchSize = 32,
    examples: Examples = 2000,
) -> Pipeline:
    """Supervised fine-tuning of all parameters on demonstrations (TRL's default learning rate)."""
    return Pipeline.of(Train(demonstrations(batch_size, examples), full(), adamw(learning_rate, schedule)))
