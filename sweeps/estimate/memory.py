"""Peak memory of a run's process, from the policy's shape and the extents of its batches.

The larger of two times: while an update is computed (weights, reference, optimiser state, gradients, what the backward
pass needs, logits) and while answers are sampled (weights, reference, state, keys and values, logits). An evolution
strategy holds a float32 master beside the weights that serve, the members it evaluates at once and their sum. Not
counted: what the allocator and the libraries hold, which on a processor is measured (`base`).
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.contracts import Train
from sweeps.estimate.shape import Shape
from sweeps.estimate.texts import Texts
from sweeps.estimate.work import Update, holds_reference

_ENGINE_ROWS = 128  # rows that the embedded engine answers at once
_GROWTH = 1.5  # its cache grows by half; while it does, old and new are there
_LOGITS = 3  # logits, their log-softmax and their gradient, float32
_MEMBERS = 2.0**29  # bytes that the population engine gives the members of a batch
_ADAM_BYTES = 8.0  # two float32 moments a trainable parameter


@dataclass(frozen=True)
class Spread:
    """Over how many processes something lies that is else whole in each."""

    state: int = 1
    """The optimiser's state (`zero_stage: 1`)."""
    gradients: int = 1
    """And gradients (`zero_stage: 2`)."""

    @classmethod
    def of(cls, processes: int, zero_stage: int) -> Spread:
        """That of a run of so many processes."""
        return cls(processes if zero_stage > 0 else 1, processes if zero_stage > 1 else 1)


WHOLE = Spread()


@dataclass(frozen=True)
class Settings:
    """What the memory of a stage can be changed by."""

    accumulation: int = 1
    checkpointing: bool = False
    spread: Spread = WHOLE


def peak_bytes(stage: Train, shape: Shape, update: Update, texts: Texts, settings: Settings, evaluated: int) -> float:
    """Peak bytes of one stage beyond what the process holds anyway; `evaluated` items are answered in between."""
    held = shape.weight_bytes * (1 + holds_reference(stage, shape.adapter))
    answered = max(min(update.sampled, _ENGINE_ROWS), min(evaluated, _ENGINE_ROWS))
    sampling = answered * (_GROWTH + 1) * shape.kv_bytes * (texts.prompt + texts.completion)
    sampling += answered * shape.vocabulary * 4 * (_LOGITS - 1)
    if stage.optimiser.takes != "gradient":
        own = getattr(stage.optimiser, "held_bytes", lambda count: 8.0 * count)(shape.trainable)
        every = shape.trainable * 4.0 * getattr(stage.optimiser, "population", 1)
        return held + own + max(min(every, _MEMBERS), shape.trainable * 4.0) + sampling
    state = shape.trainable * float(getattr(stage.optimiser, "state_bytes", _ADAM_BYTES)) / settings.spread.state
    rows = -(-update.rows // settings.accumulation)
    tokens = rows * update.tokens
    kept = tokens * shape.kept_bytes
    if settings.checkpointing:
        kept = tokens * (shape.layers * shape.hidden_bytes + shape.kept_bytes / shape.layers)
    logits = tokens * shape.vocabulary * 4 * _LOGITS
    updating = shape.trainable * 4 / settings.spread.state  # temporaries as large as the gradients that it takes
    training = max(kept + logits, updating)
    return held + state + shape.trainable * 4 / settings.spread.gradients + max(training, sampling)
