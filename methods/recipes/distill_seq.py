"""Sequence-level distillation: supervised fine-tuning on answers that a teacher samples to the training prompts."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.distill_sequence import SequenceDistillation
from methods.objectives.replay import Replay
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import (
    AnswersPerPrompt,
    BatchSize,
    Examples,
    KeptPerPrompt,
    LearningRate,
    ReplayShare,
    ReplayTask,
    SamplingShare,
    Schedule,
    TeacherModel,
    Temperature,
    Verified,
)


@method("distill-seq", version=1, source="Kim & Rush 2016, arXiv 1606.07947, section 3.2")
def distill_seq(
    teacher: TeacherModel = None,
    learning_rate: LearningRate = 2e-5,
    schedule: Schedule = "linear",
    batch_size: BatchSize = 32,
    prompts: Examples = 2000,
    samples: AnswersPerPrompt = 1,
    keep: KeptPerPrompt = 4,
    verified: Verified = False,
    temperature: Temperature = 1.0,
    sampling_share: SamplingShare = 0.5,
    replay: ReplayShare = 0.0,
    replay_task: ReplayTask = None,
) -> Pipeline:
    """Imitation of a teacher's sampled answers (teacher=NAME), optionally of those alone that the verifier accepts."""
    objective = SequenceDistillation(
        teacher,
        batch_size,
        prompts,
        samples,
        keep,
        temperature,
        sampling_share,
        verified,
        Replay(replay, replay_task),
    )
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
