"""The estimate of every arm of a sweep.

Tokens and operations follow from the parts of the method and the budget, or, where finished runs of the same model,
method, task and budgeted meters are there, from those; time follows from the throughput of like runs. What cannot be
told is None, with the reason in `unknown`: nothing is guessed.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness.contracts import Pipeline, Train
from harness.errors import UserError
from harness.models import ModelHandle, load_model
from harness.parts import load_parameterisation
from harness.registry import find_method, find_task
from harness.spec import RunSpec
from harness.update_size import Planned, UpdateSize
from sweeps.estimate.devices import Device, process_bytes
from sweeps.estimate.fit import Extents, Fit, fit
from sweeps.estimate.history import Past, Throughput, evaluation_seconds, throughput
from sweeps.estimate.memory import WHOLE, Settings, Spread, peak_bytes
from sweeps.estimate.shape import Shape, shape_of
from sweeps.estimate.texts import Texts, texts_of, tokens_of, window_of
from sweeps.estimate.work import Update, Work, update_of, work_under
from sweeps.resolve import Sweep

_BYTES_A_ROW = 150.0  # of samples.parquet, by the shipped tasks' runs
_FILES = 400_000.0  # tokenizer, events and records of a run
_BASED_ON = 8  # finished runs of a kind are enough for a median


@dataclass(frozen=True)
class Estimate:
    """One run of an arm."""

    method: str
    work: Work | None
    work_source: str
    """`like runs`, or `parts` with where the length of answers is from."""
    seconds: float | None
    """Wall-clock seconds, evaluation included where like runs tell it."""
    throughput: Throughput | None
    memory_bytes: float | None
    memory_source: str
    """Where what the process holds beside the model is from; empty on a GPU, where nothing is added."""
    disk_bytes: float | None
    trainable: int | None
    fits: tuple[Fit, ...]
    unknown: tuple[str, ...] = ()


class Estimator:
    """Estimates runs of one model from their specs; what it looks up is looked up once."""

    def __init__(
        self,
        handle: ModelHandle,
        history: Sequence[Past],
        devices: Sequence[Device],
        device: str,
        spread: Spread = WHOLE,
        tensor_parallel: int = 1,
    ) -> None:
        """`spread` is over how many processes a run's state and gradients lie, `tensor_parallel` how many devices its
        one process holds."""
        self.handle, self.history, self.devices, self.device = handle, history, devices, device
        self.spread, self.tensor_parallel = spread, tensor_parallel
        self._shapes: dict[str, Shape | str] = {}
        self._texts: dict[str, Texts] = {}
        self._sizes: dict[str, UpdateSize] = {}
        self._bases: dict[str, tuple[float, str]] = {}

    def of(self, label: str, pipeline: Pipeline, spec: RunSpec) -> Estimate:
        """One run of `spec`."""
        texts = self._lengths(spec)
        stages, unknown = self._stages(pipeline, spec, texts)
        whole = not unknown
        rate = throughput(self.history, spec, self.device, self.tensor_parallel)
        like = self.like(spec)
        work, source = None, ""
        if like:
            work, source = _mean_work(like), f"{len(like)} like runs"
        elif whole:
            pairs = [(stage, update) for stage, _, update in stages]
            work = work_under(pairs, spec.budget, rate.flops_per_second if rate else None) if pairs else Work()
            source = f"parts, answers as long as {texts.source}"
        seconds = _training_seconds(spec, work, rate)
        around = evaluation_seconds(self.history, spec, self.device, self.tensor_parallel)
        if seconds is not None and around is not None:
            seconds += around
        elif not seconds:
            seconds = None  # nothing but an evaluation, and nobody knows how long that takes
        base, base_source = self._base(spec, bool(stages))
        memory: float | None = None
        fits: list[Fit] = []
        if any(shape.read_operations is not None or _only_writes(update) for _, shape, update in stages):
            base_source = "like runs" if like else ""
            if like:
                memory = statistics.median([one.result.peak_memory_bytes for one in like])
                fits = [Fit(one.name, one.bytes, memory <= one.bytes) for one in self.devices]
            else:
                unknown.append("what a generator keeps of what it reads or writes is known from runs alone")
        elif whole:
            memory = base + self._memory(spec, stages, texts)
            fits = [
                fit(
                    one, one.bytes - (0.0 if one.gpu else base), stages, texts, partial(self._memory, spec),
                    lambda: self._shape(load_parameterisation("qlora")), self.spread,
                )
                for one in self.devices
            ]  # fmt: skip
        return Estimate(
            method=label,
            work=work,
            work_source=source,
            seconds=seconds,
            throughput=rate,
            memory_bytes=memory,
            memory_source=base_source,
            disk_bytes=self._disk(stages, spec) if whole else None,
            trainable=max((shape.trainable for _, shape, _ in stages), default=None),
            fits=tuple(fits),
            unknown=tuple(dict.fromkeys(unknown)),
        )

    def _stages(self, pipeline: Pipeline, spec: RunSpec, texts: Texts) -> tuple[list[Extents], list[str]]:
        """The training stages with their extents, and what cannot be told of them."""
        stages: list[Extents] = []
        unknown: list[str] = []
        for stage in pipeline.stages:
            if not isinstance(stage, Train):
                continue
            shape = self._shape(stage.parameterisation)
            if isinstance(shape, str):
                unknown.append(shape)
                continue
            update = update_of(stage, shape, texts, self._size(stage, spec))
            if update is None:
                unknown.append(f"the batches of {stage.objective.name} are known from runs alone")
            else:
                stages.append((stage, shape, update))
        return stages, unknown

    def _size(self, stage: Train, spec: RunSpec) -> UpdateSize | None:
        """What the stage's objective says itself of its updates, asked once a task and evaluation."""
        said = getattr(stage.objective, "update_size", None)
        if said is None:
            return None
        key = f"{stage.describe()} {spec.task.model_dump_json()} {spec.evaluation.model_dump_json()}"
        if key not in self._sizes:
            task = find_task(spec.task.name).create(**spec.task.parameters)
            self._sizes[key] = said(
                Planned(
                    task,
                    tokens_of(self.handle),
                    window_of(self.handle),
                    spec.evaluation.asked(),
                    stage.parameterisation,
                )
            )
        return self._sizes[key]

    def _base(self, spec: RunSpec, trains: bool) -> tuple[float, str]:
        """What the process of a run holds beside the model on a processor, and how that is known."""
        if not self.devices or self.devices[0].gpu:
            return 0.0, ""
        key = spec.method.name if trains else ""
        if key not in self._bases:
            self._bases[key] = self._measured_base(spec, trains)
        return self._bases[key]

    def _measured_base(self, spec: RunSpec, trains: bool) -> tuple[float, str]:
        here = [past for past in self.history if past.device == self.device and past.spec.model == spec.model]
        same = [past for past in here if past.spec.method.name == spec.method.name]
        others = [past for past in here if bool(past.result.stages) == trains]
        for source, found in (("same model and method", same), ("same model", others)):
            left = [one for one in map(self._beside, found[-_BASED_ON:]) if one is not None]
            if left:
                return statistics.median(left), source
        return process_bytes(), "this process"

    def _beside(self, past: Past) -> float | None:
        """Peak memory of a finished run less what its model and batches account for."""
        try:
            pipeline = find_method(past.spec.method.name).create(**past.spec.method.parameters)
        except UserError:  # of an earlier version of the method
            return None
        texts = self._lengths(past.spec)
        stages, unknown = self._stages(pipeline, past.spec, texts)
        return None if unknown else past.result.peak_memory_bytes - self._memory(past.spec, stages, texts)

    def like(self, spec: RunSpec) -> list[Past]:
        """Finished runs that differ in their seed alone, or in how they are scored."""
        return [
            past
            for past in self.history
            if past.spec.method == spec.method
            and past.spec.model == spec.model
            and past.spec.task == spec.task
            and past.spec.budget == spec.budget
            and past.spec.training == spec.training
            and past.spec.run_id != spec.run_id
        ]

    def _lengths(self, spec: RunSpec) -> Texts:
        written = [
            past.answer_tokens
            for past in self.history
            if past.spec.model == spec.model and past.spec.task == spec.task and past.answer_tokens
        ]
        key = spec.task.model_dump_json() + str(spec.evaluation.max_new_tokens)
        if key not in self._texts:
            task = find_task(spec.task.name).create(**spec.task.parameters)
            lengths = [one for one in written if one is not None]
            self._texts[key] = texts_of(task, self.handle, spec.evaluation.max_new_tokens, lengths)
        return self._texts[key]

    def _shape(self, part: Any) -> Shape | str:
        key = f"{part.name} {part.describe()}"
        if key not in self._shapes:
            self._shapes[key] = shape_of(self.handle, part)
        return self._shapes[key]

    def _memory(
        self,
        spec: RunSpec,
        stages: Sequence[Extents],
        texts: Texts,
        accumulation: int = 1,
        checkpointing: bool = False,
        spread: Spread | None = None,
    ) -> float:
        """Peak bytes of a run beside `_base`: its largest stage, or what the weights alone take."""
        peaks = [self.handle.parameters * 4.0]
        for stage, shape, update in stages:
            asked = spec.training.over(stage.training).settled()
            settings = Settings(
                max(asked.accumulation, accumulation),
                bool(asked.gradient_checkpointing or checkpointing),
                spread or self.spread,
            )
            peaks.append(peak_bytes(stage, shape, update, texts, settings, spec.evaluation.items))
        return max(peaks)

    def _disk(self, stages: list[Extents], spec: RunSpec) -> float:
        """Bytes that a finished run keeps: its model or adapter, its answers and its records."""
        rows = spec.evaluation.items * spec.evaluation.samples * _BYTES_A_ROW
        if not stages:
            return rows + _FILES
        last = stages[-1][1]
        return rows + _FILES + (last.trainable * 4.0 if last.adapter else last.parameters * 4.0)


def _only_writes(update: Update) -> bool:
    """Whether all that an update keeps for the backward pass is a generator's own."""
    return update.size is not None and bool(update.size.written)


def estimate_sweep(
    sweep: Sweep,
    history: Sequence[Past],
    devices: Sequence[Device],
    device: str,
    spread: Spread = WHOLE,
    tensor_parallel: int = 1,
) -> list[Estimate]:
    """One estimate an arm, of one of its final runs at the settings that its first trial has."""
    estimator = Estimator(load_model(sweep.model.name), history, devices, device, spread, tensor_parallel)
    found = []
    for arm in sweep.arms:
        method = arm.component()
        spec = sweep.final_specs(arm, method)[0]
        found.append(estimator.of(arm.label, arm.entry.create(**method.parameters), spec))
    return found


def _mean_work(like: Sequence[Past]) -> Work:
    names = ("prompt_tokens", "generated_tokens", "trained_tokens", "rollouts", "flops", "steps")
    return Work(**{name: statistics.fmean(float(getattr(p.result.meters, name)) for p in like) for name in names})


def _training_seconds(spec: RunSpec, work: Work | None, rate: Throughput | None) -> float | None:
    limit = spec.budget.device_seconds
    if work is None or (rate is None and work.flops):
        return limit
    seconds = work.flops / rate.flops_per_second if rate is not None else 0.0
    return seconds if limit is None else min(seconds, limit)
