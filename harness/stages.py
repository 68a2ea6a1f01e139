"""The stages of a run, one after the other: each trains or transforms what the one before it left.

A stage begins with the merged weights of the last, or with its adapter where it says so; what lies between two stages
is kept in the run's checkpoint, so that a run that was stopped goes on with the stage that it was in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.contracts import Pipeline, Resources, Train, Transform
from harness.plan import keeps
from harness.record import Meters, StageResult


def loaded(handle: Any, resources: Resources) -> Any:
    """The policy that a model is, on the run's device."""
    from harness.models import TrainedGenerator
    from harness.policy import Policy

    device = "cuda" if resources.gpus else "cpu"
    model = handle.model().to(device).eval()
    policy = Policy(model, handle.tokenizer(), handle.path, tensor_parallel=resources.tensor_parallel)
    if isinstance(handle, TrainedGenerator):
        return replace(policy, kind="generator", start=handle.base.path)
    return policy


class Stages:
    """Those of `pipeline`, in `run`."""

    def __init__(self, run: Any, pipeline: Pipeline, resources: Resources, enter: Callable[[str], None]) -> None:
        """`enter(phase)` is told of every stage that begins."""
        self.run, self.pipeline = run, pipeline
        self._resources, self._enter = resources, enter

    def go_through(self, policy: Any, checkpoint: tuple[Path, dict[str, Any]] | None) -> tuple[Any, list[StageResult]]:
        """The policy after every stage, and what the stages were; each starts from the merged weights of the last."""
        from harness.run_context import stage_start

        run, pipeline = self.run, self.pipeline
        first = checkpoint[1]["stage"] if checkpoint else 0
        start = stage_start(run.directory, first)
        results: list[StageResult] = []
        before = Meters(processor_seconds=0.0 if self._resources.devices == 1 else None)
        scored = len(pipeline.stages) > 1 and run.spec.evaluation.curve_points > 0
        if start is not None:
            policy = self._handed_over(start[0])
            results = [StageResult.model_validate(one) for one in start[1]["results"]]
            before = Meters(**start[1]["meters"])
        for index in range(first, len(pipeline.stages)):
            self._enter(f"stage {index}")
            stage = pipeline.stages[index]
            resume = checkpoint if checkpoint and index == first and checkpoint[1]["step"] else None
            if isinstance(stage, Train):
                follower = pipeline.stages[index + 1] if index + 1 < len(pipeline.stages) else None
                carry = bool(getattr(follower, "carries_moments", False))
                policy, result = self._train(index, stage, policy, before, resume, scored, carry)
            else:
                policy, result = self._transform(index, stage, policy, before, scored)
            results.append(result)
            if index + 1 < len(pipeline.stages):
                with run.meters.clock("overhead"):
                    keep = keeps(pipeline.stages[index + 1])
                    there = run.hand_over(index + 1, policy, [one.model_dump() for one in results], keep)
                    policy = self._handed_over(there)
                before = run.spent()
        return policy, results

    def _handed_over(self, folder: Path) -> Any:
        """The policy that a stage begins with: merged weights, or an adapter on its base."""
        from harness.adapters import is_adapter, open_adapter
        from harness.models import base_of, load_model
        from harness.moments import Moments

        if not is_adapter(folder):
            return loaded(load_model(str(folder)), self._resources)
        policy = loaded(base_of(folder, self.run.spec.model.name), self._resources)
        model = open_adapter(policy.model, folder, trainable=True).eval()
        return replace(policy, model=model, kind="adapter", moments=Moments.load(folder))

    def _transform(
        self, index: int, stage: Transform, policy: Any, before: Meters, scored: bool
    ) -> tuple[Any, StageResult]:
        """Apply a transform: its time is the run's, it trains nothing."""
        from harness.context import StageContext

        run = self.run
        description = {"transform": {"name": stage.name, **stage.describe()}}
        run.events.write("stage_start", stage=index, description=description)
        with run.meters.clock("train"):
            policy = stage.apply(StageContext(run, index, policy), policy)
        score = run.score(policy) if scored else None
        run.events.write("stage_end", stage=index, step=0, stopped_by=None)
        return policy, _stage_result(run, index, description, before, policy, score=score)

    def _train(
        self,
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

        run = self.run
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
