"""RunSpec: everything that decides a run's result, frozen, and the identity that follows from it.

The identity is the hash of the canonical JSON of the whole spec and of nothing else: two specs with equal content are
the same run wherever they execute; any other content is another run. Paths, executors, logging and the number of
threads are not in here. Neither torch nor any method or task is imported.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, model_validator

from harness.contracts import Control
from harness.frozen import Frozen as Frozen
from harness.training import Training

SCHEMA_VERSION = 1


class Component(Frozen):
    """A registered method or task: name, version of its code and every parameter with its resolved value."""

    name: str
    version: int
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of the content behind each parameter that is a path."""

    def content(self) -> dict[str, Any]:
        """What decides a result: as `model_dump`, with the content of files in place of their paths."""
        shown = self.model_dump(exclude={"data"})
        shown["parameters"] = {**shown["parameters"], **{key: f"sha256:{digest}" for key, digest in self.data.items()}}
        return shown


class ModelReference(Frozen):
    """The start model: a name that `load_model` knows and the revision (commit or weight hash) it stood for."""

    name: str
    revision: str


class Budget(Frozen):
    """Limits on what a run may spend in training and generating for training; evaluation is not charged.

    Whichever limit is reached first stops the run. Every meter is recorded, limited or not.
    """

    device_seconds: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Seconds of train + generate, times devices."""
    generated_tokens: int | None = Field(None, ge=0)
    """Tokens sampled for training."""
    trained_tokens: int | None = Field(None, ge=0)
    """Tokens that went through a backward pass."""
    rollouts: int | None = Field(None, ge=0)
    """Completions sampled for training."""
    flops: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Floating-point operations by the usual 2N / 4N / 6N count per token."""
    steps: int | None = Field(None, ge=0)
    """Optimiser updates."""

    def limits(self) -> dict[str, float]:
        """The meters that are limited, with their limits."""
        return {name: float(value) for name, value in self.model_dump().items() if value is not None}


class Probe(Frozen):
    """A task whose score is watched, not trained."""

    label: str
    task: Component
    split: Literal["val", "test"] = "test"
    items: int = Field(200, ge=1)


class Retention(Frozen):
    """What is measured before and after a run beside its task: see `harness.retention`."""

    probes: tuple[Probe, ...]
    kl_prompts: int = Field(128, ge=0)
    """Questions of the new task on which the divergence from the start policy is measured."""


class EvaluationProtocol(Frozen):
    """How a run is scored: part of its identity, equal for every method of a comparison."""

    split: Literal["val", "test"] = "test"
    items: int = Field(500, ge=1)
    """Items of the split, always its first ones."""
    samples: int = Field(1, ge=1)
    """Completions an item; the score is the mean over items and samples."""
    temperature: float = Field(0.0, ge=0.0, allow_inf_nan=False)
    """0 is greedy."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    max_new_tokens: int | None = Field(None, ge=1)
    """Tokens a completion may have; None takes the task's own limit."""
    engine: str = "hf"
    curve_points: int = Field(4, ge=0)
    """Evaluations on val while training, evenly spaced over the budget; they draw the learning curve."""
    curve_items: int = Field(100, ge=1)
    retention: Retention | None = None
    """Probes scored before and after, or None."""

    def asked(self) -> dict[str, int]:
        """Each split that is asked, at the end or for the learning curve, with the most items asked of it."""
        counts: dict[str, int] = {self.split: self.items}
        if self.curve_points:
            counts["val"] = max(counts.get("val", 0), self.curve_items)
        return counts

    def content(self) -> dict[str, Any]:
        """What decides a result: as `model_dump`, with the content of probes' files in place of their paths."""
        shown = self.model_dump(exclude={"retention"})
        if self.retention is not None:
            probes = [{**probe.model_dump(), "task": probe.task.content()} for probe in self.retention.probes]
            shown["retention"] = {**self.retention.model_dump(), "probes": probes}
        return shown

    @model_validator(mode="after")
    def _samples_differ(self) -> EvaluationProtocol:
        if self.temperature == 0.0 and self.samples > 1:
            raise ValueError("greedy decoding (temperature 0) gives the same completion each time: use samples: 1")
        return self


class RunSpec(Frozen):
    """One run: method x task x model x budget x seed x evaluation."""

    schema_version: int = SCHEMA_VERSION
    method: Component
    task: Component
    model: ModelReference
    budget: Budget
    seed: int
    evaluation: EvaluationProtocol
    training: Training = Training()
    """Options of every stage that takes them; they go before the stages' own."""
    control: Control | None = None
    """Which negative control this run is, if it is one."""

    def canonical(self) -> str:
        """The one JSON text of this spec: sorted keys, no blanks, NaN refused."""
        content = self.model_dump() | {"method": self.method.content(), "task": self.task.content()}
        content["evaluation"] = self.evaluation.content()
        content["training"] = self.training.given()
        if not content["training"]:
            del content["training"]
        if content["control"] is None:
            del content["control"]
        return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @cached_property
    def run_id(self) -> str:
        """16 hexadecimal digits of the SHA-256 of `canonical()`."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:16]

    @property
    def folder(self) -> str:
        """Where the run lives below the runs directory."""
        return f"{self.task.name}/{self.method.name}/{self.run_id}"
