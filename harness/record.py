"""What a finished run writes: `result.json`, `error.json` and the columns of `samples.parquet`, as frozen models.

`RunDirectory` names the files of a run and derives its status from them; there is no daemon and no database behind it:

    spec.json        the RunSpec, written first
    environment.json code version and diff, packages, hardware
    lease.json       who is at work; its modification time is the heartbeat
    events.jsonl     stage_start, metrics, curve, checkpoint, note, stage_end, resumed
    replay.jsonl     what every update without a gradient was made of (`harness.replay_log`)
    checkpoint/      the newest resumable state
    samples.parquet  every graded completion of the final evaluation
    regrades/        the same answers graded again, N.parquet by version N of the task
    model/           final weights: a transformers directory, or a PEFT one for adapters
    result.json      written last, by rename; a run is done when it is there
    error.json       phase and class of what stopped it
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from harness.errors import Damaged
from harness.spec import Frozen, RunSpec

Status = Literal["new", "running", "stale", "done", "failed", "pruned"]
LEASE_SECONDS = 60.0
"""A lease whose heartbeat is older than this belongs to a dead process."""

SAMPLE_COLUMNS = (
    "item_id",  # hash of the question
    "item_index",  # its place in the split
    "sample",  # 0-based completion of this item
    "prompt",
    "completion",
    "correct",
    "reward",
    "well_formed",
    "reason",
    "parsed",
    "tokens",
    "truncated",
    "measures",  # JSON of further named figures, or NULL
)


class Meters(Frozen):
    """Everything a run or a stage spent. Seconds are wall-clock seconds of each of its processes (or each device over
    which vLLM spreads its model), added up, but for the processor's."""

    train_seconds: float = 0.0
    generate_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    overhead_seconds: float = 0.0
    processor_seconds: float | None = None
    """Seconds of processor time over all threads in those four; None where it was not metered."""
    generated_tokens: int = 0
    prompt_tokens: int = 0
    trained_tokens: int = 0
    rollouts: int = 0
    flops: float = 0.0
    steps: int = 0

    @property
    def device_seconds(self) -> float:
        """What a budget of seconds charges: train + generate."""
        return self.train_seconds + self.generate_seconds

    @property
    def seconds(self) -> float:
        """All wall-clock seconds of its processes."""
        return self.train_seconds + self.generate_seconds + self.evaluate_seconds + self.overhead_seconds

    def since(self, earlier: Meters) -> Meters:
        """What was spent after `earlier`."""
        old, new = earlier.model_dump(exclude_none=True), self.model_dump(exclude_none=True)
        return Meters(**{name: new[name] - old[name] for name in new if name in old})


class Score(Frozen):
    """The final evaluation in numbers; the rows behind it are in samples.parquet."""

    split: str
    items: int
    samples: int
    accuracy: float
    reward: float
    well_formed: float
    truncated: float
    tokens_per_completion: float
    measures: dict[str, float] = Field(default_factory=dict)
    """Means of the grades' further figures over the answers that have them."""


class StageResult(Frozen):
    """What one stage of the pipeline was and spent."""

    index: int
    description: dict[str, Any]
    meters: Meters
    trainable_parameters: int | None = None
    stopped_by: str | None = None
    """The budget meter that ended the stage, `early_stopping`, or None if it ended by itself."""
    micro_batch: int | None = None
    """Rows of a micro-batch at the end of the stage; None where nothing was computed in micro-batches."""
    best_point: int | None = None
    """The point of the learning curve whose weights the stage ended with, where early stopping was on."""
    score: Score | None = None
    """The policy after this stage: on val and the items of the learning curve in a pipeline of several stages (None if
    no curve was asked for), the final evaluation where there is one stage only."""


class ProbeResult(Frozen):
    """One probe before and after the run."""

    label: str
    task: str
    items: int
    before: float
    """Accuracy of the start policy."""
    after: float
    measures: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Further figures of the probe, before and after."""


class RetentionResult(Frozen):
    """What was lost beside the task: see `harness.retention`. Divergences are in nats."""

    probes: list[ProbeResult]
    kl_per_sequence: float | None = None
    kl_per_token: float | None = None
    kl_standard_error: float | None = None
    """Of the mean per sequence, over prompts."""
    kl_prompts: int = 0


class Result(Frozen):
    """`result.json`."""

    run_id: str
    score: Score
    meters: Meters
    stages: list[StageResult]
    trainable_parameters: int | None
    total_parameters: int
    peak_memory_bytes: int
    retention: RetentionResult | None = None
    weights_digest: str
    """SHA-256 over the final weights: equal digests are equal models."""
    resumed: int
    """How many times the run was taken up again."""
    started_at: float
    finished_at: float


class Failure(Frozen):
    """`error.json`."""

    phase: str
    failure: str
    """One of oom, nan, disk, killed, user, bug, pruned."""
    message: str
    traceback: str | None
    at: float


Kept = TypeVar("Kept", bound=BaseModel)


def read_record(kind: type[Kept], path: Path) -> Kept:
    """The record in one of our JSON files; `Damaged` where there is no longer one in it."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Damaged(path, f"{where}: {first['msg']}" if where else first["msg"]) from None


class RunDirectory:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec = path / "spec.json"
        self.environment = path / "environment.json"
        self.lease = path / "lease.json"
        self.events = path / "events.jsonl"
        self.replay = path / "replay.jsonl"
        self.checkpoint = path / "checkpoint"
        self.samples = path / "samples.parquet"
        self.model = path / "model"
        self.result = path / "result.json"
        self.error = path / "error.json"
        self.prune = path / "prune"
        self.regrades = path / "regrades"
        self.rollouts = path.parent.parent.parent / "rollouts"
        """Shared by all runs beside this one."""

    @classmethod
    def of(cls, runs: Path, spec: RunSpec) -> RunDirectory:
        """The directory of `spec` below the runs directory."""
        return cls(runs / spec.folder)

    def read_spec(self) -> RunSpec:
        return read_record(RunSpec, self.spec)

    def read_result(self) -> Result:
        return read_record(Result, self.result)

    def read_failure(self) -> Failure:
        return read_record(Failure, self.error)

    def regraded(self) -> list[Path]:
        """The answers graded again, one file a version of the task, oldest first."""
        return sorted(self.regrades.glob("*.parquet"), key=lambda file: int(file.stem))

    def status(self) -> Status:
        """From the files alone; `stale` means that whoever held the lease is gone."""
        if self.result.exists():
            return "done"
        age = self._lease_age()
        if age is not None:
            return "running" if age < LEASE_SECONDS else "stale"
        if self.error.exists():
            return "pruned" if self.read_failure().failure == "pruned" else "failed"
        return "stale" if self.events.exists() else "new"

    def _lease_age(self) -> float | None:
        from harness.lease import age

        return age(self.lease)


def all_runs(runs: Path) -> list[RunDirectory]:
    """Every run below `runs`, in a stable order."""
    return [RunDirectory(path.parent) for path in sorted(runs.glob("*/*/*/spec.json"))]
