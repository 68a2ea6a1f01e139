"""A reward model of steps: the chance that a solution still comes out right, at the end of each of its steps.

-mean over steps of y log p + (1 - y) log(1 - p), p = sigmoid of a scalar head of the policy's own backbone at the last
token of the step (Lightman et al. 2023, arXiv 2305.20050; Uesato et al. 2022, arXiv 2211.14275), with y the Monte-Carlo
label of `methods.reward_models.step_labels` (Wang et al. 2024, Math-Shepherd, arXiv 2312.08935, section 3.3). Needs a
verifier; what sampling and labelling cost is charged to this method. The policy is left as it is; the model is written
into the run's directory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.contracts import GradientOptimiser, Offer, Signal
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.context import StageContext
    from methods.reward_models.card import Aggregate
    from methods.reward_models.step_labels import Labelled

Row = dict[str, Any]


@dataclass(frozen=True)
class StepWise:
    """Tell from each step on whether the answer will be right."""

    batch_size: int
    prompts: int
    samples: int
    continuations: int
    delimiter: str
    labels: Literal["soft", "hard"]
    aggregate: Aggregate
    temperature: float
    sampling_share: float
    held_out: float
    name = "process-reward-model"
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset({"verifier"})

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """A Trainer over the start policy's backbone, which writes the reward model when it is done."""
        from datasets import Dataset
        from transformers import AutoModelForTokenClassification, TrainingArguments
        from trl.trainer.utils import disable_dropout_in_model

        from harness.gradient_loop import trainer_arguments
        from methods.reward_models import training
        from methods.reward_models.step_trainer import StepTrainer, collated, step_error

        solved = labelled(stage, self)
        groups: dict[str, list[training.Answer]] = {}
        for one in solved:
            answer = training.Answer(stage.task.prompt(one.item), one.text, one.truncated, one.correct)
            groups.setdefault(one.item.id, []).append(answer)
        sets = training.held_apart(stage, list(groups.values()), self.held_out)
        apart = {answer for group in sets.held_out for answer in map(_key, group)}
        rows = [self._row(stage, one) for one in solved]
        unseen = [row for row, one in zip(rows, solved, strict=True) if _key(_answer(stage, one)) in apart]
        trained = [row for row, one in zip(rows, solved, strict=True) if _key(_answer(stage, one)) not in apart]
        stage.run.events.write(
            "steps",
            solutions=len(trained),
            held_out_solutions=len(unseen),
            steps=sum(len(row["ends"]) for row in trained),
        )
        tokenizer = stage.policy.tokenizer
        model = training.backbone(stage, AutoModelForTokenClassification, "token classification")
        disable_dropout_in_model(model)

        def done(judge: Any) -> None:
            further = {"held_out/step_error": step_error(judge, unseen, tokenizer.pad_token_id)} if unseen else {}
            training.finish(stage, judge, sets, self.name, further, delimiter=self.delimiter, aggregate=self.aggregate)

        return training.finishing(StepTrainer, stage, done)(
            model=model,
            args=TrainingArguments(**trainer_arguments(stage, min(self.batch_size, len(trained)))),
            train_dataset=Dataset.from_list(trained),
            data_collator=collated(tokenizer.pad_token_id),
            optimizers=optimiser.create(training.judge_stage(stage, model)),
        )

    def split(self, inputs: dict[str, Any], parts: int, items: Any) -> list[tuple[dict[str, Any], float]]:
        """Solutions; the loss is divided by the steps of the whole batch, so that its parts just add up."""
        from harness.micro_batches import split_rows

        return split_rows(inputs, parts, True)

    def _row(self, stage: StageContext, one: Labelled) -> Row:
        from methods.reward_models.training import read

        seen = read(stage.policy.tokenizer, _answer(stage, one), self.delimiter)
        return {"ids": seen.ids, "ends": seen.ends, "step_labels": one.labels}

    def describe(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "solutions": f"{self.samples} a prompt, at most {self.prompts} prompts and "
            f"{self.sampling_share:.0%} of the stage's budget",
            "labels": f"{self.labels}, {self.continuations} continuations from each step that ends at "
            f"{self.delimiter!r}",
            "score": self.aggregate,
            "temperature": self.temperature,
            "held_out": f"{self.held_out:.0%} of the prompts",
        }


def labelled(stage: StageContext, settings: StepWise) -> list[Labelled]:
    """Solutions with labelled steps; UserError unless there are right and wrong ones."""
    from methods.reward_models.step_labels import labelled_steps

    solved = labelled_steps(
        stage,
        settings.prompts,
        settings.samples,
        settings.continuations,
        settings.delimiter,
        settings.labels == "hard",
        settings.temperature,
        settings.sampling_share,
    )
    if len({one.correct for one in solved}) < 2:
        raise UserError(
            f"process-reward-model needs right and wrong solutions: {len(solved)} solutions of the start model are all "
            "alike. Use more samples, another level, or sft first."
        )
    return solved


def _answer(stage: StageContext, one: Labelled) -> Any:
    from methods.reward_models.training import Answer

    return Answer(stage.task.prompt(one.item), one.text, one.truncated, one.correct)


def _key(answer: Any) -> tuple[str, str]:
    return str(answer.prompt), answer.text
