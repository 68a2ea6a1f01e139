"""Continued pretraining on the task's own texts: documents, or questions with their answers, read from end to end."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.cpt import continued_pretraining
from methods.objectives.replay import Replay
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import BatchSize, Examples, LearningRate, ReplayShare, ReplayTask, RowLength, Schedule


@method("cpt", version=1, source="Gururangan et al. 2020, arXiv 2004.10964, section 3 (task-adaptive pretraining)")
def cpt(
    learning_rate: LearningRate = 1e-5,
    schedule: Schedule = "linear",
    batch_size: BatchSize = 16,
    length: RowLength = 1024,
    examples: Examples = 2000,
    replay: ReplayShare = 0.0,
    replay_task: ReplayTask = None,
) -> Pipeline:
    """Continued pretraining of all parameters on the task's texts, packed, documents kept apart."""
    objective = continued_pretraining(batch_size, length, examples, Replay(replay, replay_task))
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
