"""The sweep file: one comparison of methods on a task, written down in YAML.

Frozen records that refuse keys they do not know. A mistake in the file is one sentence with its line and, for a key,
the nearest one there is. The shape is shown by `sweeps/quickstart.yaml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator, model_validator

from harness.contracts import Control
from harness.document import Document, Place
from harness.engines.choice import default_engine
from harness.errors import UserError
from harness.executors.choice import CHOICES, ExecutorChoice, LocalChoice, RunResources, executor_choice
from harness.spec import Budget, EvaluationProtocol, Frozen
from harness.training import Training
from sweeps.retention import RetentionChoice, retention_choice

_NAME = r"^[a-z0-9][a-z0-9_-]*$"
_OF_THE_ARM = ("search", "training", "control")


class Range(Frozen):
    """Where to look for one parameter instead of the method's own range, which is meant for larger models."""

    low: float | None = None
    high: float | None = None
    log: bool | None = None
    """On a log scale; as the method has it where this is left out."""
    choices: tuple[Any, ...] | None = None
    start: Any = None
    """The value of the first trial; the method's default where this is left out."""

    @model_validator(mode="after")
    def _is_whole(self) -> Range:
        if (self.choices is None) == (self.low is None or self.high is None):
            raise ValueError("a search range is {low: ..., high: ...} or {choices: [...]}")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"a search range from {self.low} to {self.high} is empty")
        return self


class MethodChoice(Frozen):
    """A method of the comparison: its name, its label, the parameters fixed here and the ranges moved here."""

    name: str
    label: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+:-]*$")
    parameters: dict[str, Any] = Field(default_factory=dict)
    search: dict[str, Range] = Field(default_factory=dict)
    training: Training = Training()
    """Options of this method's stages; they go before those of the whole sweep."""
    control: Control | None = None
    """This arm is a negative control: see `harness.control`."""


class TaskChoice(Frozen):
    """The task and its parameters."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class Pruning(Frozen):
    """When to stop a trial early, by its learning curve on val."""

    name: Literal["percentile", "median", "none"] = "percentile"
    """`percentile` stops a trial whose best value so far is not among the best `keep` percent of the finished trials at
    that point of the curve; `median` is the same with 50."""
    keep: float = Field(75.0, gt=0, lt=100)
    """Lenient by default: among few trials a median stops half of them on noise."""
    startup: int = Field(3, ge=1)
    """Trials that are finished before any is stopped."""
    warmup: int = Field(1, ge=0)
    """Curve points at which no trial is stopped."""


class Sampling(Frozen):
    """How the next trial's parameters are chosen."""

    name: Literal["tpe", "random"] = "tpe"
    startup: int = Field(4, ge=1)
    """Trials before TPE models anything; they are drawn at random (the first is the defaults)."""
    seed: int = 0


class Tuning(Frozen):
    """Tuning on val, the same number of trials for every method that has something to tune."""

    trials: int = Field(0, ge=0)
    """The first one is the vetted defaults."""
    items: int = Field(200, ge=1)
    seeds: list[int] = Field([100], min_length=1)
    """A trial is the mean over these; none of them may be a final seed."""
    on: Literal["val"] = "val"
    pruner: Pruning = Pruning()
    sampler: Sampling = Sampling()


class Final(Frozen):
    """The runs that are reported: the winner of each method, once a seed."""

    seeds: list[int] = Field([1, 2, 3], min_length=1)
    """A list, or a number n for 1..n. A method is ranked with 3 and more."""
    items: int = Field(500, ge=1)
    on: Literal["val", "test"] = "test"

    @field_validator("seeds", mode="before")
    @classmethod
    def _count(cls, given: Any) -> Any:
        return list(range(1, given + 1)) if isinstance(given, int) and not isinstance(given, bool) else given


class Evaluation(Frozen):
    """How every run is scored; see `harness.spec.EvaluationProtocol`, whose defaults these are."""

    samples: int = EvaluationProtocol().samples
    temperature: float = EvaluationProtocol().temperature
    top_p: float = EvaluationProtocol().top_p
    max_new_tokens: int | None = EvaluationProtocol().max_new_tokens
    engine: str = Field(default_factory=default_engine)
    """hf or vllm; by itself vllm where a CUDA device and vLLM are there."""
    curve_points: int = EvaluationProtocol().curve_points
    curve_items: int = EvaluationProtocol().curve_items

    @model_validator(mode="after")
    def _is_a_protocol(self) -> Evaluation:
        EvaluationProtocol(**self.model_dump())
        return self


class Price(Frozen):
    """What an hour of one device costs."""

    per_device_hour: float = Field(gt=0, allow_inf_nan=False)
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$")


def _method_choice(given: Any) -> Any:
    if isinstance(given, str):
        return {"name": given, "label": given}
    if isinstance(given, dict):
        if not isinstance(given.get("name"), str):
            raise ValueError("a method is a name, or {name: ..., parameter: value, as: label}")
        rest = {key: value for key, value in given.items() if key not in ("name", "as", *_OF_THE_ARM)}
        own = {key: given[key] for key in _OF_THE_ARM if key in given}
        label = "-".join(filter(None, (given["name"], given.get("control"))))
        return {"name": given["name"], "label": given.get("as", label), "parameters": rest, **own}
    raise ValueError("a method is a name, or {name: ..., parameter: value, as: label}")


def _task_choice(given: Any) -> Any:
    if isinstance(given, str):
        return {"name": given}
    if isinstance(given, dict) and isinstance(given.get("name"), str):
        return {"name": given["name"], "parameters": {key: value for key, value in given.items() if key != "name"}}
    raise ValueError("a task is a name, or {name: ..., parameter: value}")


class SweepFile(Frozen):
    """A sweep as its author wrote it, with every default filled in."""

    name: str = Field(pattern=_NAME)
    """Names the sweep's directory and report; the file's own name where it is left out."""
    model: str
    task: Annotated[TaskChoice, BeforeValidator(_task_choice)]
    methods: list[Annotated[MethodChoice, BeforeValidator(_method_choice)]] = Field(min_length=1)
    budget: Budget
    """The same for every run; at least one limit."""
    tune: Tuning = Tuning()
    final: Final = Final()
    evaluation: Evaluation = Evaluation()
    training: Training = Training()
    """Options of every method's stages, as far as they take them."""
    retention: Annotated[RetentionChoice, BeforeValidator(retention_choice)] | None = None
    """Probes scored before and after each final run."""
    price: Price | None = None
    """For the plan; it decides nothing."""
    storage: str | None = None
    """A database URL for Optuna, for tuning that several machines look at; else a journal file in its directory."""
    executor: Annotated[ExecutorChoice, BeforeValidator(executor_choice)] = LocalChoice()
    """Where the runs execute: local, ray or slurm, by name or with its options. Decides no result."""
    resources: RunResources = RunResources()
    """What each run gets. Decides no result."""

    @model_validator(mode="after")
    def _is_fair(self) -> SweepFile:
        if self.storage is not None and urlsplit(self.storage).password is not None:
            raise ValueError(
                "storage holds a password, and a sweep file is shown in results: leave it to ~/.pgpass or PGPASSWORD"
            )
        labels = [choice.label for choice in self.methods]
        double = next((label for label in labels if labels.count(label) > 1), None)
        if double is not None:
            raise ValueError(
                f"two methods go by the label {double!r}: give one another label, {{name: ..., as: label}}"
            )
        if not self.budget.limits():
            raise ValueError(
                f"the budget needs a limit, for example flops: 1e12 (one of {', '.join(Budget.model_fields)})"
            )
        for what, seeds in (("tune.seeds", self.tune.seeds), ("final.seeds", self.final.seeds)):
            if len(set(seeds)) < len(seeds):
                raise ValueError(f"{what} has a seed twice")
        shared = sorted(set(self.tune.seeds) & set(self.final.seeds)) if self.tune.trials else []
        if shared:
            raise ValueError(
                f"seed {shared[0]} is in tune.seeds and in final.seeds: a winner must be scored on fresh seeds"
            )
        return self


def read_sweep(path: Path) -> tuple[SweepFile, Document]:
    """The sweep in a YAML file; UserError in one sentence for whatever is wrong with it."""
    document = Document.read(path)
    return parse_sweep(document, path.stem.lower()), document


def parse_sweep(document: Document, name: str, **given: Any) -> SweepFile:
    """The sweep that a document holds; `given` are keys that it leaves to its reader."""
    data = document.data
    if not isinstance(data, dict):
        raise UserError(f"{document.name} holds no keys; a sweep has {', '.join(SweepFile.model_fields)}.")
    try:
        return SweepFile(**{"name": name, **given, **data})
    except ValidationError as error:
        raise UserError(document.sentence(error, "a sweep", _keys)) from None


def _keys(place: Place) -> list[str]:
    """The keys there are at a place of the file."""
    if place[:1] == ("methods",):
        return list(Training.model_fields if "training" in place else Range.model_fields)
    if place[:1] == ("executor",):
        return list(CHOICES[str(place[1])].model_fields) if len(place) > 1 else []
    model: type[BaseModel] = SweepFile
    for step in place:
        inner = model.model_fields[str(step)].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
