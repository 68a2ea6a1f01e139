"""Supervised fine-tuning: minus the mean log-likelihood of the demonstration's tokens, the prompt left out.

TRL's SFTTrainer with `completion_only_loss`. Demonstrations come from the task, one a training item.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import GradientOptimiser, Offer, Signal
from methods.objectives.parts import Inputs, in_parts, trim_right

if TYPE_CHECKING:
    from harness.context import StageContext


@dataclass(frozen=True)
class Demonstrations:
    """Imitate gold completions."""

    batch_size: int
    examples: int
    name = "sft"
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset({"demonstrations"})

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """An SFTTrainer over the first `examples` training items."""
        from methods.objectives.dataset import completion_columns

        task = stage.task
        rows = [
            completion_columns(task.prompt(item), task.demonstration(item)) for item in stage.train_items(self.examples)
        ]
        return imitate(stage, optimiser, rows, self.batch_size)

    def describe(self) -> dict[str, Any]:
        return {"batch_size": self.batch_size, "examples": self.examples}


def imitate(stage: StageContext, optimiser: GradientOptimiser, rows: list[dict[str, Any]], batch_size: int) -> Any:
    """An SFTTrainer over `rows` of `prompt` and `completion`, the loss on the completion alone."""
    from trl import SFTConfig, SFTTrainer

    from harness.gradient_loop import trainer_arguments

    return in_parts(SFTTrainer, _lengths, _trimmed)(
        model=stage.policy.model,
        args=SFTConfig(**trainer_arguments(stage, batch_size), max_length=None, completion_only_loss=True),
        train_dataset=_dataset(rows),
        processing_class=stage.policy.tokenizer,
        optimizers=optimiser.create(stage),
    )


def _lengths(inputs: Inputs) -> Any:
    return inputs["attention_mask"].sum(-1)


def _trimmed(inputs: Inputs) -> Inputs:
    return trim_right(inputs, "attention_mask", ("input_ids", "attention_mask", "labels", "position_ids"))


def _dataset(rows: list[dict[str, Any]]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(rows)


def demonstrations(batch_size: int, examples: int) -> Demonstrations:
    """Imitate the task's demonstrations."""
    return Demonstrations(batch_size, examples)
