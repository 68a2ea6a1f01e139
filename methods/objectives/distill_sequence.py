"""Sequence-level distillation: minus the mean log-likelihood of a teacher's own answers.

-1/T sum_t log pi(y_t | x, y_<t) with y ~ teacher(. | x), an estimate of the cross-entropy to the teacher over whole
answers (Kim & Rush 2016, arXiv 1606.07947, section 3.2; sampled here, where the paper takes the beam's best). `samples`
answers a training prompt at `temperature`, those cut short dropped, equal ones counted once, at most `keep` a prompt.
With `verified` only answers that the task's verifier accepts are learnt, without it all are. Needs prompts alone, and a
verifier to filter with. Sane learning rates as for sft: 1e-5 to 5e-5 full, 1e-4 to 5e-4 LoRA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import GradientOptimiser, LikelihoodTask, Offer, Signal, Task, TaskRefusal
from harness.errors import UserError
from harness.spec import ModelReference
from methods.objectives.replay import NO_REPLAY, Replay
from methods.objectives.sft import imitate
from methods.objectives.teacher import load_teacher, without_teacher

if TYPE_CHECKING:
    from harness.context import StageContext


@dataclass(frozen=True)
class SequenceDistillation:
    """Imitate a teacher's answers."""

    teacher: str | None
    batch_size: int
    prompts: int
    samples: int
    keep: int
    temperature: float
    sampling_share: float
    verified: bool = False
    replay: Replay = NO_REPLAY
    name = "distill-seq"
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset()

    def refuses(self, task: Task, model: ModelReference | None) -> str | None:
        """No teacher, a filter without a verifier, a task that is not answered in words, replay without a source."""
        if isinstance(task, LikelihoodTask):
            return TaskRefusal(f"task {task.name!r} is scored by likelihoods, so a teacher has nothing to answer there")
        if self.verified and "verifier" not in task.offers:
            return f"verified=true needs a verifier, and task {task.name!r} has none"
        return without_teacher(self.name, self.teacher) or self.replay.refuses()

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """An SFTTrainer over the teacher's answers."""
        return imitate(stage, optimiser, self.rows(stage), self.batch_size, replay=self.replay)

    def rows(self, stage: StageContext) -> list[dict[str, Any]]:
        """Rows `prompt`, `completion`; raises UserError if no answer of the teacher is left."""
        from methods.objectives.dataset import completion_columns
        from methods.objectives.rollouts import start_rollouts

        teacher = load_teacher(str(self.teacher), stage.policy)
        sampled = start_rollouts(
            stage, self.prompts, self.samples, self.temperature, self.sampling_share, teacher=teacher
        )
        kept: dict[str, dict[str, dict[str, Any]]] = {}
        for rollout in sampled:
            texts = kept.setdefault(rollout.item.id, {})
            if not rollout.truncated and (rollout.correct or not self.verified) and len(texts) < self.keep:
                texts[rollout.text] = completion_columns(stage.task.prompt(stage.taken_for(rollout.item)), rollout.text)
        rows = [row for texts in kept.values() for row in texts.values()]
        stage.run.events.write("taught", prompts=len(kept), rollouts=len(sampled), rows=len(rows))
        if not rows:
            wanted = "right and finished" if self.verified else "finished"
            raise UserError(
                f"The teacher {self.teacher} gave no answer that is {wanted} to {len(kept)} prompts, {self.samples} "
                "samples each: take another teacher, more samples or an easier level."
            )
        return rows

    def describe(self) -> dict[str, Any]:
        return {
            "teacher": self.teacher,
            "batch_size": self.batch_size,
            "answers": f"{self.samples} samples a prompt, at most {self.prompts} prompts and "
            f"{self.sampling_share:.0%} of the stage's budget, at most {self.keep} different ones a prompt",
            "filter": "the task's verifier" if self.verified else "none",
            "temperature": self.temperature,
            **self.replay.describe(),
        }
