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
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.atomic import write_json
from harness.contracts import LOST, Pipeline, Resources, Task, Train, Transform
from harness.errors import OutOfMemory, Pruned, UserError, failure_class
from harness.events import EventLog, read_events
from harness.lease import Lease, LeaseHeld
from harness.plan import keeps
from harness.ranks import PeerLost, Ranks
from harness.record import Failure, Meters, Result, RunDirectory, StageResult
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
        policy, stages = self._stages(run, pipeline, policy, checkpoint)
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
        return self._policy(handle)

    def _policy(self, handle: Any) -> Any:
        from harness.models import TrainedGenerator
        from harness.policy import Policy

        device = "cuda" if self.resources.gpus else "cpu"
        model, spread = handle.model().to(device).eval(), self.resources.tensor_parallel
        policy = Policy(model, handle.tokenizer(), handle.path, tensor_parallel=spread)
        if isinstance(handle, TrainedGenerator):
            return replace(policy, kind="generator", start=handle.base.path)
        return policy

    def _stages(
        self, run: Any, pipeline: Pipeline, policy: Any, checkpoint: tuple[Path, dict[str, Any]] | None
    ) -> tuple[Any, list[StageResult]]:
        """The policy after every stage, and what the stages were; each starts from the merged weights of the last."""
        from harness.run_context import stage_start

        first = checkpoint[1]["stage"] if checkpoint else 0
        start = stage_start(self.directory, first)
        results: list[StageResult] = []
        before = Meters(processor_seconds=0.0 if self.resources.devices == 1 else None)
        scored = len(pipeline.stages) > 1 and run.spec.evaluation.curve_points > 0
        if start is not None:
            policy = self._handed_over(run, start[0])
            results = [StageResult.model_validate(one) for one in start[1]["results"]]
            before = Meters(**start[1]["meters"])
        for index in range(first, len(pipeline.stages)):
            self.phase = f"stage {index}"
            stage = pipeline.stages[index]
            resume = checkpoint if checkpoint and index == first and checkpoint[1]["step"] else None
            if isinstance(stage, Train):
                follower = pipeline.stages[index + 1] if index + 1 < len(pipeline.stages) else None
                carry = bool(getattr(follower, "carries_moments", False))
                policy, result = self._train(run, index, stage, policy, before, resume, scored, carry)
            else:
                policy, result = self._transform(run, index, stage, policy, before, scored)
            results.append(result)
            if index + 1 < len(pipeline.stages):
                with run.meters.clock("overhead"):
                    keep = keeps(pipeline.stages[index + 1])
                    there = run.hand_over(index + 1, policy, [one.model_dump() for one in results], keep)
                    policy = self._handed_over(run, there)
                before = run.spent()
        return policy, results

    def _handed_over(self, run: Any, folder: Path) -> Any:
        """The policy that a stage begins with: merged weights, or an adapter on its base."""
        from harness.adapters import is_adapter, open_adapter
        from harness.models import base_of, load_model
        from harness.moments import Moments

        if not is_adapter(folder):
            return self._policy(load_model(str(folder)))
        policy = self._policy(base_of(folder, run.spec.model.name))
        model = open_adapter(policy.model, folder, trainable=True).eval()
        return replace(policy, model=model, kind="adapter", moments=Moments.load(folder))

    def _transform(
        self, run: Any, index: int, stage: Transform, policy: Any, before: Meters, scored: bool
    ) -> tuple[Any, StageResult]:
        """Apply a transform: its time is the run's, it trains nothing."""
        from harness.context import StageContext

        description = {"transform": {"name": stage.name, **stage.describe()}}
        run.events.write("stage_start", stage=index, description=description)
        with run.meters.clock("train"):
            policy = stage.apply(StageContext(run, index, policy), policy)
        score = run.score(policy) if scored else None
        run.events.write("stage_end", stage=index, step=0, stopped_by=None)
        return policy, _stage_result(run, index, description, before, policy, score=score)

    def _train(
        self,
        run: Any,
        index: int,
        stage: Train,
        policy: Any,
        before: Meters,
        resume: tuple[Path, dict[str, Any]] | None,
        scored: bool,
        carry: bool,
    ) -> tuple[Any, StageResult]:
        from harness.context import StageContext
        from harness.gradient_loop import run_gradient
        from harness.meters import spent

        policy = stage.parameterisation.attach(policy, run.seed(f"stage-{index}", "init") % 2**31)
        begun = min(1.0, spent(run.spec.budget, before)[0]) if index else 0.0
        ends = 1.0 if stage.share is None else min(1.0, begun + stage.share)
        context = StageContext(
            run,
            index,
            policy,
            begun,
            ends,
            parameterisation=stage.parameterisation,
            keep_moments=carry,
            own_training=stage.training,
            own_budget=stage.budget,
            before=before,
        )
        if resume is not None:
            context.take_up(*resume)
        else:
            run.events.write("stage_start", stage=index, description=stage.describe())
            context.draw_curve()
        if not context.exhausted():
            if stage.optimiser.takes == "gradient":
                run_gradient(context, stage)
            else:
                stage.optimiser.fit(context, stage.objective)  # type: ignore[attr-defined]
        context.finish()
        policy.model.eval()
        score = context.score() if scored else None
        run.events.write("stage_end", stage=index, step=context.step, stopped_by=context.stopped_by)
        ended = {"stopped_by": context.stopped_by, "micro_batch": context.micro_batch, "best_point": context.best.point}
        return policy, _stage_result(run, index, stage.describe(), before, policy, score=score, **ended)

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


def _stage_result(
    run: Any, index: int, description: dict[str, Any], before: Meters, policy: Any, **ended: Any
) -> StageResult:
    return StageResult(
        index=index,
        description=description,
        meters=run.meters.read().since(before),
        trainable_parameters=policy.trainable_parameters,
        **ended,
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
