"""Supervised fine-tuning on the task's demonstrations, all parameters, completion tokens only."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.replay import Replay
from methods.objectives.sft import demonstrations
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import BatchSize, Examples, ImitationLoss, LearningRate, ReplayShare, ReplayTask, Schedule


@method("sft", version=1, source="Ouyang et al. 2022, arXiv 2203.02155, section 3.1; dft: Wu et al., arXiv 2508.05629")
def sft(
    learning_rate: LearningRate = 2e-5,
    schedule: Schedule = "linear",
    batch_size: BatchSize = 32,
    examples: Examples = 2000,
    loss: ImitationLoss = "nll",
    replay: ReplayShare = 0.0,
    replay_task: ReplayTask = None,
) -> Pipeline:
    """Supervised fine-tuning of all parameters on demonstrations (TRL's default learning rate)."""
    objective = demonstrations(batch_size, examples, loss, Replay(replay, replay_task))
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
