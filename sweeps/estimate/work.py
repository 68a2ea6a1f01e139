"""What a method's stages do under a budget: tokens, rollouts and operations, by the words their parts are made of.

An objective that samples as it trains has `prompts_per_step` (and `group_size` or `samples`), one that samples first
`sampling_share`, `prompts` and `samples`, the others `batch_size` alone; a fitness optimiser has a `population`. The
count of operations is the meters' own (`harness.meters`). One whose batches are its own affair says how large they are
(`harness.update_size`). What does neither is told by like runs alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from harness.contracts import LikelihoodObjective, Train
from harness.spec import Budget
from harness.update_size import UpdateSize
from sweeps.estimate.shape import Shape
from sweeps.estimate.texts import Texts


@dataclass(frozen=True)
class Work:
    """What is done in training; every figure is a mean, so none is whole."""

    prompt_tokens: float = 0.0
    generated_tokens: float = 0.0
    trained_tokens: float = 0.0
    rollouts: float = 0.0
    flops: float = 0.0
    steps: float = 0.0

    def times(self, factor: float) -> Work:
        return Work(*(factor * getattr(self, one.name) for one in fields(self)))

    def plus(self, other: Work) -> Work:
        return Work(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


@dataclass(frozen=True)
class Update:
    """One update of a stage, what goes before the first one, and the extents of its batches."""

    work: Work
    first: Work
    rows: int
    """Sequences that are trained on at once; 0 without a backward pass."""
    tokens: float
    """Tokens of the longest of them, about."""
    sampled: int
    """Sequences that are sampled at once."""
    sampling_share: float = 0.0
    updates: int | None = None
    """After which the stage ends by itself."""
    size: UpdateSize | None = None
    """What the objective said itself."""


def update_of(stage: Train, shape: Shape, texts: Texts, size: UpdateSize | None = None) -> Update | None:
    """One update of a stage, of the `size` that its objective says; None for one that says nothing and has none of the
    words."""
    objective, optimiser = stage.objective, stage.optimiser
    whole = texts.prompt + texts.completion
    if size is not None:
        return _sized(stage, shape, texts, size)
    population = getattr(optimiser, "population", None)
    if optimiser.takes == "fitness":
        asked = getattr(objective, "prompts", None) or getattr(objective, "batch_size", None)
        if population is None or asked is None:
            return None
        count = population * asked
        if isinstance(objective, LikelihoodObjective):
            tokens = count * (texts.prompt + (texts.demonstration or texts.completion))
            flops = 2.0 * shape.compute_parameters * tokens
            return Update(Work(trained_tokens=tokens, flops=flops, steps=1), Work(), 0, whole, 0)
        return Update(_sampled(count, shape, texts).plus(Work(steps=1)), Work(), 0, whole, count)
    if optimiser.takes == "activations" and hasattr(objective, "sampling_share"):
        return _compared(stage, shape, texts)
    if optimiser.takes != "gradient":
        return None
    if hasattr(objective, "prompts_per_step"):
        rows = objective.prompts_per_step * (getattr(objective, "group_size", 0) or getattr(objective, "samples", 1))
        learnt = 2 * objective.prompts_per_step if _pairs(objective) else rows
        passes = getattr(objective, "epochs", 1)
        work = _sampled(rows, shape, texts).plus(_trained(passes * learnt * whole, stage, shape, learnt * whole))
        parts = passes * getattr(objective, "minibatches", 1)
        return Update(work.plus(Work(steps=parts)), Work(), learnt, whole, rows)
    batch = getattr(objective, "batch_size", None)
    if batch is None or not isinstance(batch, int):
        return None
    if hasattr(objective, "sampling_share") and hasattr(objective, "samples"):
        rows = 2 * batch if _pairs(objective) else batch
        first = _sampled(texts.supply(getattr(objective, "prompts", 0)) * objective.samples, shape, texts)
        work = _trained(rows * whole, stage, shape, rows * whole)
        return Update(work.plus(Work(steps=1)), first, rows, whole, 128, objective.sampling_share)
    if "demonstrations" not in getattr(objective, "needs", ()) or texts.demonstration is None:
        return None
    tokens = batch * (texts.prompt + texts.demonstration)
    written = Work(flops=3.0 * batch * (shape.text_operations or 0.0))
    work = _trained(tokens, stage, shape, tokens).plus(written).plus(Work(steps=1))
    return Update(work, Work(), batch, tokens / batch, 0)


def _compared(stage: Train, shape: Shape, texts: Texts) -> Update:
    """Pairs that are sampled first, one a prompt at most, and read once."""
    objective: Any = stage.objective
    prompts = texts.supply(objective.prompts)
    first = _sampled(prompts * objective.samples, shape, texts)
    tokens = 2 * objective.batch_size * (texts.prompt + texts.completion)
    work = Work(flops=2.0 * shape.compute_parameters * tokens, steps=1)
    ends = math.ceil(prompts / objective.batch_size)
    return Update(work, first, 0, 0.0, 128, objective.sampling_share, ends)


def _sized(stage: Train, shape: Shape, texts: Texts, size: UpdateSize) -> Update:
    tokens = size.rows * size.tokens
    read = 0.0 if shape.read_operations is None else 3.0 * shape.read_operations(size.chunks)
    written = 3.0 * size.written * (shape.text_operations or 0.0)
    reading = Work(flops=read + written + 2.0 * shape.compute_parameters * sum(size.chunks), steps=1)
    asked, answered = size.taught * size.taught_tokens, size.taught * texts.completion
    flops = 2.0 * 2.0 * shape.compute_parameters * (asked + answered)  # once to answer, once for the likeliest tokens
    first = Work(asked, answered, rollouts=size.taught, flops=flops)
    work = _trained(tokens, stage, shape, tokens).plus(reading)
    return Update(work, first, math.ceil(size.rows), size.tokens, 0, 1.0, size.updates, size)


def work_under(stages: list[tuple[Train, Update]], budget: Budget, rate: float | None) -> Work | None:
    """All stages under the budget; `rate` is operations a device-second. None where no limit can be counted."""
    limits = budget.limits()
    if "device_seconds" in limits and rate is not None:
        limits["flops"] = min(limits.pop("device_seconds") * rate, limits.get("flops", float("inf")))
    limits.pop("device_seconds", None)
    limits = {name: limit for name, limit in limits.items() if any(getattr(up.work, name) for _, up in stages)}
    if not limits:
        return None
    total, begun = Work(), 0.0
    for stage, update in stages:
        ends = 1.0 if stage.share is None else min(1.0, begun + stage.share)
        done = _until(update, limits, ends - begun)
        total = total.plus(done)
        begun = ends
    return total


def _until(update: Update, limits: dict[str, float], share: float) -> Work:
    """The work of one stage that has this share of every limit."""
    first = update.first
    asked = max((getattr(first, name) / (limit * share) for name, limit in limits.items() if share), default=0.0)
    if asked > update.sampling_share:
        first = first.times(update.sampling_share / asked)
    counts = [
        (limit * share - getattr(first, name)) / getattr(update.work, name)
        for name, limit in limits.items()
        if getattr(update.work, name)
    ]
    if update.updates is not None:
        counts.append(update.updates)
    return first.plus(update.work.times(max(0.0, min(counts)))) if counts else first


def holds_reference(stage: Train, adapter: bool) -> bool:
    """Whether a second model lies in memory: objectives say so, and an adapter's base is its own reference."""
    return bool(getattr(stage.objective, "holds_reference", False)) and not adapter


def _sampled(rows: float, shape: Shape, texts: Texts) -> Work:
    prompt, answers = rows * texts.prompt, rows * texts.completion
    flops = 2.0 * shape.compute_parameters * (prompt + answers)
    return Work(prompt_tokens=prompt, generated_tokens=answers, rollouts=rows, flops=flops)


def _trained(tokens: float, stage: Train, shape: Shape, referred: float) -> Work:
    by_token = shape.trainable if shape.text_operations is None else 0
    flops = (4.0 * shape.compute_parameters + 2.0 * by_token) * tokens
    if getattr(stage.objective, "holds_reference", False):
        flops += 2.0 * shape.compute_parameters * referred
    return Work(trained_tokens=tokens, flops=flops)


def _pairs(objective: Any) -> bool:
    return "preferences" in getattr(objective, "needs", ()) or hasattr(objective, "pairs_per_prompt")
