"""Reasoning-trace distillation: supervised fine-tuning on right answers that a stronger run has stored."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.distill_trace import TraceDistillation
from methods.objectives.replay import Replay
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import (
    BatchSize,
    Examples,
    KeptPerPrompt,
    LearningRate,
    ReplayShare,
    ReplayTask,
    Schedule,
    Traces,
)


@method("distill-trace", version=1, source="DeepSeek-AI 2025 (R1), arXiv 2501.12948, section 2.4")
def distill_trace(
    traces: Traces = None,
    learning_rate: LearningRate = 1e-5,
    schedule: Schedule = "linear",
    batch_size: BatchSize = 32,
    examples: Examples = 2000,
    keep: KeptPerPrompt = 4,
    replay: ReplayShare = 0.0,
    replay_task: ReplayTask = None,
) -> Pipeline:
    """Imitation of stored right answers (traces=PATH): a finished run's, or a JSONL file's."""
    objective = TraceDistillation(traces, batch_size, examples, keep, Replay(replay, replay_task))
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
