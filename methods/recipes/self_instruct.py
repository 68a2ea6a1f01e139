"""Self-Instruct: an instruction set grown from a few training items by the model itself, then imitated."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.replay import Replay
from methods.objectives.self_instruct import SelfInstruct
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import (
    BatchSize,
    Examples,
    LearningRate,
    Novelty,
    ReplayShare,
    ReplayTask,
    SamplingShare,
    Schedule,
    Seeds,
    Shots,
    Temperature,
)


@method("self-instruct", version=1, source="Wang et al. 2022, arXiv 2212.10560, section 2")
def self_instruct(
    learning_rate: LearningRate = 2e-5,
    schedule: Schedule = "linear",
    batch_size: BatchSize = 32,
    seeds: Seeds = 175,
    examples: Examples = 2000,
    shots: Shots = 8,
    novelty: Novelty = 0.7,
    temperature: Temperature = 0.7,
    sampling_share: SamplingShare = 0.5,
    replay: ReplayShare = 0.0,
    replay_task: ReplayTask = None,
) -> Pipeline:
    """Imitation of examples that the model wrote after the task's own: new, in form, answers unchecked."""
    objective = SelfInstruct(
        batch_size, seeds, examples, shots, novelty, temperature, sampling_share, Replay(replay, replay_task)
    )
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
