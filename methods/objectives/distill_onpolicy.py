"""On-policy distillation (GKD): the student's next-token distribution follows the teacher's on the student's answers.

1/T sum_t JSD_beta(p_t, q_t) over all answer tokens of a batch, p_t the teacher's and q_t the student's distribution,
JSD_beta(p, q) = beta KL(p | m) + (1 - beta) KL(q | m), m = beta p + (1 - beta) q; beta 0 is KL(p | q), beta 1 is
KL(q | p) (Agarwal et al. 2023, arXiv 2306.13649, equation 1 and algorithm 1; TRL's DistillationTrainer). With
probability `on_policy` (lambda) a batch's answers are sampled from the student as it is, else from the teacher; no
gradient goes through the sampling, and the divergence is at temperature 1. Needs prompts alone. Student and teacher
must have one vocabulary; where the teacher's head has rows beyond the student's (padding), they are cut off. Sane
settings: on_policy 0.5 to 1, temperature 0.9 to 1, learning rate 1e-6 to 1e-5 full, 1e-5 to 1e-4 LoRA.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import GradientOptimiser, LikelihoodTask, Offer, Signal, Task, TaskRefusal
from harness.errors import UserError
from harness.spec import ModelReference
from methods.objectives.replay import NO_REPLAY, Replay
from methods.objectives.teacher import Teacher, files_of, load_teacher, without_teacher

if TYPE_CHECKING:
    from harness.context import StageContext


@dataclass(frozen=True)
class OnPolicyDistillation:
    """Answer, and be told by the teacher what it would have said at every token."""

    teacher: str | None
    beta: float
    on_policy: float
    prompts_per_step: int
    temperature: float
    examples: int
    replay: Replay = NO_REPLAY
    name = "distill-onpolicy"
    learns_past_control = "its teacher's distributions and from nothing that the task says"
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset()

    def refuses(self, task: Task, model: ModelReference | None) -> str | None:
        """No teacher, one with another vocabulary, a task that is not answered in words, replay without a source."""
        if isinstance(task, LikelihoodTask):
            return TaskRefusal(f"task {task.name!r} is scored by likelihoods, so there is nothing to answer")
        if self.teacher is None:
            return without_teacher(self.name, self.teacher)
        if model is not None:
            from harness.models import load_model

            if not _same_vocabulary(files_of(self.teacher), load_model(model.name)):
                return (
                    f"the teacher {self.teacher} has another vocabulary than {model.name}, so their next-token "
                    "distributions cannot be compared: take one of the same family, or distill-seq"
                )
        if not self.replay.asks:
            return f"replay_task {self.replay.source!r} is a text, which holds no questions to answer"
        return self.replay.refuses()

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """A DistillationTrainer whose answers come from the stage's policy or from the teacher."""
        from datasets import Dataset
        from trl import DistillationConfig, DistillationTrainer

        from harness.engines.hf import encode
        from harness.gradient_loop import trainer_arguments
        from methods.objectives.dataset import completion_columns, of_one_form

        objective, teacher = self, load_teacher(str(self.teacher), stage.policy)
        if not teacher.is_merged:
            raise UserError(f"The teacher {self.teacher} is an adapter that cannot be merged: take distill-seq.")
        student = stage.policy.model.config.get_text_config().vocab_size
        if teacher.policy.model.config.get_text_config().vocab_size > student:
            teacher.policy.model.resize_token_embeddings(student)
        own = [completion_columns(stage.task.prompt(item), "") for item in stage.train_items(self.examples)]
        rows = of_one_form(stage.policy.tokenizer, [*own, *self.replay.rows(stage, len(own))])

        class OnPolicyTrainer(DistillationTrainer):  # type: ignore[misc]
            def _generate(self, prompts: list[Any]) -> tuple[Any, ...]:
                answers = objective.answers(stage, teacher, prompts, self.state.global_step)
                self._metrics["train"]["answer_tokens"].append(sum(map(len, answers)) / len(answers))
                return [encode(stage.policy.tokenizer, prompt) for prompt in prompts], answers, None, None, []

        trainer = OnPolicyTrainer(
            model=stage.policy.model,
            teacher_model=teacher.policy.model,
            args=DistillationConfig(
                **trainer_arguments(stage, self.prompts_per_step),
                beta=self.beta,
                temperature=1.0,
                max_completion_length=stage.sampling(self.temperature).max_new_tokens,
            ),
            train_dataset=Dataset.from_list([{"prompt": row["prompt"]} for row in rows]),
            processing_class=stage.policy.tokenizer,
            optimizers=optimiser.create(stage),
        )
        teacher.charge_forward(stage)
        return trainer

    @property
    def batch_size(self) -> int:
        """Prompts an update."""
        return self.prompts_per_step

    def split(self, inputs: dict[str, Any], parts: int, items: Any) -> list[tuple[dict[str, Any], float]]:
        """The loss of every part is divided by the tokens of the whole batch, so the parts' losses add up."""
        from harness.micro_batches import split_rows

        return [(part, 1.0) for part, _ in split_rows(inputs, parts)]

    def answers(self, stage: StageContext, teacher: Teacher, prompts: list[Any], step: int) -> list[list[int]]:
        """Token ids of an answer to each prompt, by the student or by the teacher as this step's draw decides."""
        sampling, seed = stage.sampling(self.temperature), stage.seed("rollouts", step)
        if random.Random(stage.seed("on-policy", step)).random() < self.on_policy:
            completions = stage.generate(prompts, sampling, seed)
        else:
            completions = teacher.generate(stage, prompts, sampling, seed)
        return [completion.token_ids for completion in completions]

    def describe(self) -> dict[str, Any]:
        return {
            "teacher": self.teacher,
            "beta": self.beta,
            "on_policy": self.on_policy,
            "prompts_per_step": self.prompts_per_step,
            "temperature": self.temperature,
            **self.replay.describe(),
        }


def _same_vocabulary(teacher: Any, student: Any) -> bool:
    """Every token has the same id, and the teacher's head has a row for each of the student's."""
    if teacher.path == student.path:
        return True
    configurations = [handle.configuration() for handle in (teacher, student)]
    sizes = [one.get("text_config", one)["vocab_size"] for one in configurations]
    vocabularies = [handle.tokenizer().get_vocab() for handle in (teacher, student)]
    return sizes[0] >= sizes[1] and vocabularies[0] == vocabularies[1]
