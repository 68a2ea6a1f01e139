"""Reasoning-trace distillation: minus the mean log-likelihood of right answers that a stronger run has stored.

-1/T sum_t log pi(y_t | x, y_<t) over traces y with their reasoning (DeepSeek-AI 2025, arXiv 2501.12948, section 2.4;
800,000 of them there, two passes at a learning rate of 1e-5). Nothing is sampled here, so nothing is charged for it.
Traces to training questions are graded by the task's verifier and only right ones learnt; traces of a file to other
questions cannot be graded and are learnt as they are; one to a question of the run's evaluation is refused. Equal ones
count once, at most `keep` a question. Sane learning rates: 1e-5 to 5e-5 full, 1e-4 to 5e-4 LoRA.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import GradientOptimiser, Offer, Prompt, Signal, Task
from harness.errors import UserError
from harness.spec import ModelReference
from harness.update_size import Planned, UpdateSize
from methods.objectives.replay import NO_REPLAY, Replay
from methods.objectives.sft import imitate
from methods.objectives.traces import read_traces

if TYPE_CHECKING:
    from harness.context import StageContext

_LOOKED_AT = 256  # traces, for an estimate


@dataclass(frozen=True)
class TraceDistillation:
    """Imitate stored right answers."""

    traces: str | None
    batch_size: int
    examples: int
    keep: int
    replay: Replay = NO_REPLAY
    name = "distill-trace"
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset({"verifier"})

    def refuses(self, task: Task, model: ModelReference | None) -> str | None:
        """No traces, or replay without a source."""
        if self.traces is None:
            return f"{self.name!r} needs traces=PATH: the directory of a finished run, or a JSONL file"
        return self.replay.refuses()

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """An SFTTrainer over right traces."""
        return imitate(stage, optimiser, self.rows(stage), self.batch_size, replay=self.replay)

    def rows(self, stage: StageContext) -> list[dict[str, Any]]:
        """Rows `prompt`, `completion`; UserError if none is right, or one answers a question of the evaluation."""
        from methods.objectives.dataset import completion_columns

        task = stage.task
        items = list(stage.train_items(self.examples))
        by_id = {item.id: item for item in items}
        by_prompt = {_text(task.prompt(item)): item for item in items}
        held_out = _held_out(stage)
        kept: dict[str, dict[str, dict[str, Any]]] = {}
        counts = dict.fromkeys(("right", "wrong", "ungraded", "unknown"), 0)
        for trace in read_traces(str(self.traces)):
            item = by_id.get(trace.item or "") if trace.prompt is None else by_prompt.get(_text(trace.prompt))
            prompt = task.prompt(item) if item is not None else trace.prompt
            if prompt is None:
                counts["unknown"] += 1
                continue
            if _text(prompt) in held_out:
                raise UserError(
                    f"{self.traces} answers a question that this run is evaluated on: leave it out. It is: "
                    f"{_text(prompt)[:200]}"
                )
            if item is not None and not task.grade(item, trace.completion).correct:
                counts["wrong"] += 1
                continue
            counts["right" if item is not None else "ungraded"] += 1
            texts = kept.setdefault(_text(prompt), {})
            if len(texts) < self.keep:
                texts[trace.completion] = completion_columns(prompt, trace.completion)
        rows = [row for texts in kept.values() for row in texts.values()]
        stage.run.events.write("traces", rows=len(rows), **counts)
        if not rows:
            raise UserError(
                f"distill-trace found no right answer in {self.traces}: {counts['wrong']} were wrong, "
                f"{counts['unknown']} to questions that are not among the first {self.examples} of {task.name}."
            )
        return rows

    def update_size(self, planned: Planned) -> UpdateSize:
        """By the first traces, right or not."""
        task, lengths = planned.task, []
        prompts = {item.id: task.prompt(item) for item in task.items("train", self.examples)}
        for trace in read_traces(str(self.traces))[:_LOOKED_AT]:
            prompt = prompts.get(trace.item) if trace.prompt is None else trace.prompt
            if prompt is not None:
                lengths.append(planned.tokens(prompt) + planned.tokens(trace.completion) + 1)
        return UpdateSize(self.batch_size, statistics.fmean(lengths) if lengths else 0.0)

    def describe(self) -> dict[str, Any]:
        shown = {"traces": self.traces, "batch_size": self.batch_size, "examples": self.examples, "keep": self.keep}
        return shown | self.replay.describe()


def _text(prompt: Prompt) -> str:
    """A prompt in one form: chat as the JSON of its turns."""
    return prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True)


def _held_out(stage: StageContext) -> set[str]:
    """The prompts that decide this run's scores."""
    task, asked = stage.task, stage.run.spec.evaluation.asked()
    return {_text(task.prompt(item)) for split, count in asked.items() for item in task.items(split, count)}
