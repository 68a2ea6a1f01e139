"""One run or sweep directory as rows of the database's tables: plain dicts, a missing value is None.

A directory that is half written is taken as its status says; nothing here raises for one that a run was killed in.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from harness.errors import Damaged
from harness.events import read_events
from harness.preference_record import Preference
from harness.record import Meters, ProbeResult, RunDirectory, read_record
from harness.sweep_record import SweepRecord

Rows = dict[str, list[dict[str, Any]]]
_TABLED = ("metrics", "curve")
_METERS = tuple(Meters.model_fields)


def content_hash(directory: RunDirectory) -> str:
    """Changes whenever anything of the run that the database shows has changed."""
    digest = hashlib.sha256(directory.status().encode())
    kept = (directory.spec, directory.result, directory.error, directory.events, directory.environment)
    for path in (*kept, *directory.regraded()):
        if path.exists():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def run_rows(directory: RunDirectory, runs: Path, content: str) -> Rows:
    """Rows of `runs`, `stages`, `metrics`, `curve` and `environments` for one run."""
    spec = directory.read_spec()
    status = directory.status()
    row: dict[str, Any] = {
        "run_id": spec.run_id,
        "folder": str(directory.path.relative_to(runs)),
        "status": status,
        "method": spec.method.name,
        "method_version": spec.method.version,
        "parameters": _json(spec.method.parameters),
        "task": spec.task.name,
        "task_version": spec.task.version,
        "task_parameters": _json(spec.task.parameters),
        "model": spec.model.name,
        "revision": spec.model.revision,
        "seed": spec.seed,
        "split": spec.evaluation.split,
        "budget": _json(spec.budget.limits()),
        "evaluation": _json(spec.evaluation.model_dump()),
        "training": _json(spec.training.given()),
        "control": spec.control,
        "content_hash": content,
    }
    found: Rows = {"runs": [row], "stages": [], "metrics": [], "curve": [], "environments": [], "retention": []}
    if status == "done":
        _add_result(directory, row, found)
    elif directory.error.exists():
        failure = directory.read_failure()
        row |= {"failure": failure.failure, "failure_phase": failure.phase, "failure_message": failure.message}
    _add_events(directory, spec.run_id, found)
    if status != "done":
        last = max(found["curve"][-1:] + found["metrics"][-1:], key=lambda one: one["device_seconds"], default={})
        row |= {key: last[key] for key in ("device_seconds", "generated_tokens", "trained_tokens", "flops") if last}
    if directory.environment.exists():
        try:
            where = json.loads(directory.environment.read_bytes())
        except ValueError as error:
            raise Damaged(directory.environment, str(error)) from None
        found["environments"].append(_environment(where, spec.run_id))
    return found


def _add_result(directory: RunDirectory, row: dict[str, Any], found: Rows) -> None:
    result = directory.read_result()
    score = result.score
    row |= score.model_dump(exclude={"split", "measures"}) | {
        "measures": _json(score.measures) if score.measures else None
    }
    row |= result.meters.model_dump() | {"device_seconds": result.meters.device_seconds}
    row |= result.model_dump(
        include={
            "trainable_parameters", "total_parameters", "peak_memory_bytes", "weights_digest", "resumed",
            "started_at", "finished_at",
        }
    )  # fmt: skip
    if result.retention is not None:
        row |= result.retention.model_dump(exclude={"probes"})
        found["retention"] += [one for probe in result.retention.probes for one in _probe_rows(result.run_id, probe)]
    for stage in result.stages:
        after = {} if stage.score is None else stage.score.model_dump(exclude={"samples", "measures"})
        meters = stage.meters.model_dump(
            include={
                "train_seconds",
                "generate_seconds",
                "generated_tokens",
                "trained_tokens",
                "rollouts",
                "flops",
                "steps",
            }
        )
        found["stages"].append(
            {
                "run_id": result.run_id,
                "stage": stage.index,
                "description": _json(stage.description),
                "stopped_by": stage.stopped_by,
                **stage.model_dump(include={"trainable_parameters", "micro_batch", "best_point"}),
                "device_seconds": stage.meters.device_seconds,
                **meters,
                **after,
            }
        )


def _probe_rows(run_id: str, probe: ProbeResult) -> list[dict[str, Any]]:
    shared = {"run_id": run_id, "probe": probe.label, "task": probe.task, "items": probe.items}
    figures = {"accuracy": (probe.before, probe.after), **probe.measures}
    return [{**shared, "measure": name, "before": old, "after": new} for name, (old, new) in figures.items()]


def _add_events(directory: RunDirectory, run_id: str, found: Rows) -> None:
    for event in read_events(directory.events):
        if event["kind"] not in _TABLED:
            continue
        meters = Meters.model_construct(**event["meters"])  # validating millions would take most of an ingest
        cost = {
            "run_id": run_id,
            "stage": event["stage"],
            "step": event["step"],
            "device_seconds": meters.device_seconds,
            **{name: getattr(meters, name) for name in ("generated_tokens", "trained_tokens", "flops")},
        }
        if event["kind"] == "curve":
            names = ("point", "accuracy", "reward", "well_formed", "truncated", "items")
            found["curve"].append(cost | {name: event.get(name) for name in names})
        else:
            found["metrics"] += [cost | {"name": name, "value": value} for name, value in event["values"].items()]


def _environment(record: dict[str, Any], run_id: str) -> dict[str, Any]:
    git = record.get("git", {})
    names = ("python", "platform", "cpu", "cores", "threads", "gpu", "memory_bytes", "hostname")
    return {
        "run_id": run_id,
        **{name: git.get(name) for name in ("commit", "dirty", "diff_sha256")},
        **{name: record.get(name) for name in names},
        "packages": _json(record.get("packages", {})),
    }


def sweep_rows(path: Path, runs: Path) -> Rows:
    """Rows of `sweeps`, `arms`, `trials`, `finals` and `refusals` for one sweep directory."""
    record = read_record(SweepRecord, path / "sweep.json")
    name = record.name
    found: Rows = {"sweeps": [], "arms": [], "trials": [], "finals": [], "refusals": []}
    found["sweeps"].append(
        {
            "sweep": name,
            "identity": record.identity,
            "task": record.task.name,
            "task_parameters": _json(record.task.parameters),
            "model": record.model.name,
            "revision": record.model.revision,
            "budget": _json(record.budget.limits()),
            "tune_trials": record.tune_trials,
            "tune_evaluation": _json(record.tune_evaluation.model_dump()),
            "final_evaluation": _json(record.final_evaluation.model_dump()),
            "commands": _json(record.commands),
            "source": record.source,
            "finished": record.finished,
            "folder": str(path.relative_to(runs)),
        }
    )
    for position, arm in enumerate(record.arms):
        winner = None if arm.winner is None else _json(arm.winner)
        found["arms"].append({"sweep": name, "position": position, "method": arm.method, "winner": winner})
        for trial in arm.trials:
            row = trial.model_dump() | {"parameters": _json(trial.parameters)}
            found["trials"].append({"sweep": name, "method": arm.method, **row})
        for place, run_id in enumerate(arm.final_run_ids):
            found["finals"].append({"sweep": name, "method": arm.method, "position": place, "run_id": run_id})
    found["refusals"] = [{"sweep": name, **refusal.model_dump()} for refusal in record.refused]
    return found


def preference_row(vote: Preference) -> dict[str, Any]:
    """The row of `preferences` for one vote."""
    row: dict[str, Any] = {
        **vote.model_dump(include={"vote", "server", "page", "engine", "item_id", "choice"}),
        "voted_at": vote.at,
        **vote.sampling.model_dump(),
        "base": vote.base.name,
        "revision": vote.base.revision,
        "prompt": vote.prompt if isinstance(vote.prompt, str) else json.dumps(vote.prompt),
        "task": None if vote.task is None else vote.task.name,
        "task_parameters": None if vote.task is None else _json(vote.task.parameters),
    }
    for side, answer in (("a", vote.a), ("b", vote.b)):
        row |= {f"{key}_{side}": value for key, value in answer.model_dump(exclude={"run_id"}).items()}
        row[f"run_{side}"] = answer.run_id
    return row


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
