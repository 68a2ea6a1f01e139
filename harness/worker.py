"""One run from its `spec.json` to its `result.json`, in this process.

Claims the lease, continues from the newest checkpoint if there is one, runs the pipeline's stages under the budget,
evaluates once, writes samples, weights and last the result. Whatever fails is written to `error.json` with phase and
class; nothing is raised. Where a run is done by several processes (`harness.ranks`), all of them go through this; the
first writes, the others write into a copy that is thrown away.
"""

from __future__ import annotations

import math
import os
import resource
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from harness.atomic import write_json
from harness.contracts import LOST, Pipeline, Resources, Task
from harness.errors import OutOfMemory, Pruned, UserError, failure_class
from harness.events import EventLog, read_events
from harness.lease import Lease, LeaseHeld
from harness.ranks import PeerLost, Ranks
from harness.record import Failure, Meters, Result, RunDirectory
from harness.stages import Stages, loaded
from harness.team import Team, team

DONE, FAILED, PRUNED, HELD = 0, 1, 3, 4
"""What `work` returns."""


def work(run_directory: Path, resources: Resources, checkpoint_seconds: float = 60.0) -> int:
    """Run to the end; returns DONE, FAILED, PRUNED, HELD when another process is at work on this run, or LOST when one
    of its own was killed."""
    directory = RunDirectory(run_directory)
    try:
        with Lease(directory.lease):
            if directory.result.exists():
                return DONE
            with team(directory, resources, follow) as together:
                return _Attempt(directory, resources, checkpoint_seconds, together).run()
    except LeaseHeld:
        return HELD
    except PeerLost as error:  # before the run could begin: there is nothing yet to write down
        print(error, file=sys.stderr)
        return LOST


def follow(copy: RunDirectory, resources: Resources, ranks: Ranks) -> Failure | None:
    """Go through the run beside its first process, in a copy of its directory; returns what went wrong here."""
    code = _Attempt(copy, resources, math.inf, Team(ranks)).run()
    return copy.read_failure() if code == FAILED else None


class _Attempt:
    def __init__(
        self, directory: RunDirectory, resources: Resources, checkpoint_seconds: float, together: Team
    ) -> None:
        self.directory = directory
        self.together = together
        self.ranks = together.ranks
        self.resources = resources
        self.checkpoint_seconds = checkpoint_seconds
        self.phase = "setup"

    def run(self) -> int:
        self.directory.error.unlink(missing_ok=True)
        try:
            self._run()
            return DONE
        except Exception as error:  # noqa: BLE001 -- the edge of the process: written down in error.json
            pruned = isinstance(error, Pruned)
            kind = "pruned" if pruned else failure_class(error)
            failure = Failure(
                phase=self.phase,
                failure=kind,
                message=_oom_message(error) if kind == "oom" else str(error) or type(error).__name__,
                traceback=None if isinstance(error, (Pruned, UserError)) else traceback.format_exc(),
                at=time.time(),
            )
            if isinstance(error, PeerLost):
                why = self.together.why()
                if why == LOST:
                    return LOST
                failure = why if isinstance(why, Failure) else failure
            write_json(self.directory.error, failure.model_dump())
            print(f"{self.phase}: {failure.failure}: {failure.message}", file=sys.stderr)
            return PRUNED if pruned else FAILED

    def _run(self) -> None:
        import torch

        from harness.provenance import environment
        from harness.registry import find_method, find_task

        started = time.time()
        torch.set_num_threads(self.resources.threads)
        spec = self.directory.read_spec()
        method, task_entry = find_method(spec.method.name), find_task(spec.task.name)
        for entry, component in ((method, spec.method), (task_entry, spec.task)):
            if entry.version != component.version:
                raise UserError(
                    f"This run was planned with {entry.kind} {entry.name!r} version {component.version}, installed is "
                    f"version {entry.version}: plan it again (beyondrl sweep or run makes a new run)."
                )
            if entry.resolve(component.parameters).data != component.data:
                raise UserError(f"The data of this run's {entry.kind} has changed since it was planned: plan it again.")
        write_json(self.directory.environment, environment(self.resources))
        self._execute(spec, method.create(**spec.method.parameters), task_entry.create(**spec.task.parameters), started)

    def _execute(self, spec: Any, pipeline: Pipeline, task: Task, started: float) -> None:
        import torch

        from harness.evaluate import evaluate
        from harness.meters import MeterBank
        from harness.retention import measure_after, measure_before
        from harness.run_context import RunContext, newest_checkpoint

        checkpoint = newest_checkpoint(self.directory)
        state = checkpoint[1] if checkpoint else None
        log = EventLog(self.directory.events)
        resumed = sum(event["kind"] == "resumed" for event in read_events(self.directory.events))
        again = self.directory.events.exists()
        log.keep(state["events"] if state else 0)
        resumed += int(again)
        for _ in range(resumed - sum(e["kind"] == "resumed" for e in read_events(self.directory.events))):
            log.write("resumed", stage=state["stage"] if state else 0, step=state["step"] if state else 0)
        meters = MeterBank(Meters(**state["meters"]) if state else None, self.resources.devices)
        run = RunContext(
            spec, self.directory, task, meters, log, self.checkpoint_seconds, self.ranks, self.resources.zero_stage
        )
        if state:
            run.curve_done = state["curve_done"]
        policy = self._start(run)
        wanted, before, retention = spec.evaluation.retention, None, None
        if wanted is not None:
            self.phase = "retention"
            with meters.clock("evaluate"):
                before = measure_before(spec, wanted, task, policy, self.ranks)
        policy, stages = Stages(run, pipeline, self.resources, self._enter).go_through(policy, checkpoint)
        self.phase = "evaluate"
        with meters.clock("evaluate"):
            score, rows = evaluate(
                spec, task, policy, spec.evaluation.split, spec.evaluation.items, pipeline.few_shot, pipeline.repeated,
                told=pipeline.told, cut=pipeline.cut, controls=True, ranks=self.ranks,
            )  # fmt: skip
            if wanted is not None and before is not None:
                retention = measure_after(spec, wanted, before, policy, pipeline.told, pipeline.cut, self.ranks)
        self.phase = "save"
        digest = policy.digest()
        self.ranks.agree("final weights", digest)
        if self.ranks.rank:
            return
        if len(stages) == 1:
            stages = [stages[0].model_copy(update={"score": score})]
        self._write_samples(rows)
        if stages:
            _replace_tree(lambda folder: run.save_final(policy, folder), self.directory.model)
        result = Result(
            run_id=spec.run_id,
            score=score,
            meters=meters.read(),
            stages=stages,
            trainable_parameters=policy.trainable_parameters if stages else None,
            total_parameters=policy.total_parameters,
            peak_memory_bytes=_peak_memory(torch),
            retention=retention,
            weights_digest=digest,
            resumed=resumed,
            started_at=started,
            finished_at=time.time(),
        )
        write_json(self.directory.result, result.model_dump())
        shutil.rmtree(self.directory.checkpoint, ignore_errors=True)

    def _start(self, run: Any) -> Any:
        """The untouched policy that the run starts from."""
        from harness.models import load_model

        handle = load_model(run.spec.model.name)
        if handle.revision != run.spec.model.revision:
            raise UserError(
                f"The model {handle.name!r} has changed: this run was planned with revision {run.spec.model.revision}, "
                f"there is {handle.revision}. Plan it again."
            )
        return loaded(handle, self.resources)

    def _enter(self, phase: str) -> None:
        self.phase = phase

    def _write_samples(self, rows: list[dict[str, Any]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        temporary = self.directory.samples.with_suffix(f".{os.getpid()}.tmp")
        try:
            pq.write_table(pa.Table.from_pylist(rows), temporary)
            os.replace(temporary, self.directory.samples)
        finally:
            temporary.unlink(missing_ok=True)


def _oom_message(error: BaseException) -> str:
    """What to change, and the allocator's own words."""
    if isinstance(error, OutOfMemory):
        return str(error)
    words = (str(error) or type(error).__name__).strip().partition("\n")[0]
    return (
        "Memory ran out outside of an update's micro-batches: lower max_new_tokens or what is computed at once, or "
        f"take an adapter method or a smaller model ({words})."
    )


def _replace_tree(write: Any, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        write(temporary)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _peak_memory(torch: Any) -> int:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
