"""Supervised fine-tuning: minus the mean log-likelihood of the demonstration's tokens, the prompt left out.

TRL's SFTTrainer with `completion_only_loss`. `nll` is -1/T sum_t log pi(y_t | x, y_<t) with T the answer tokens of a
batch; `dft` weighs every token's term by its own probability, held constant: -1/T sum_t sg(pi(y_t)) log pi(y_t)
(dynamic fine-tuning, Wu et al. 2025, arXiv 2508.05629, equation 9), so that tokens the model finds absurd do not drown
the others. Demonstrations come from the task, one a training item. Sane learning rates for models of 0.5B and more:
1e-5 to 5e-5 for all parameters, 1e-4 to 5e-4 for LoRA, one to three passes; dft's gradients are smaller and bear more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.contracts import GradientOptimiser, Offer, Signal, Task
from harness.spec import ModelReference
from methods.objectives.parts import Inputs, in_parts, trim_right
from methods.objectives.replay import NO_REPLAY, Replay

if TYPE_CHECKING:
    from harness.context import StageContext

Loss = Literal["nll", "dft"]


@dataclass(frozen=True)
class Demonstrations:
    """Imitate gold completions."""

    batch_size: int
    examples: int
    loss: Loss = "nll"
    replay: Replay = NO_REPLAY
    name = "sft"
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset({"demonstrations"})

    def refuses(self, task: Task, model: ModelReference | None) -> str | None:
        """Replay without a source."""
        return self.replay.refuses()

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """An SFTTrainer over the first `examples` training items."""
        from methods.objectives.dataset import completion_columns

        task = stage.task
        rows = [
            completion_columns(task.prompt(item), task.demonstration(item)) for item in stage.train_items(self.examples)
        ]
        return imitate(stage, optimiser, rows, self.batch_size, self.loss, self.replay)

    def describe(self) -> dict[str, Any]:
        shown = {"batch_size": self.batch_size, "examples": self.examples, "loss": self.loss}
        return shown | self.replay.describe()


def imitate(
    stage: StageContext,
    optimiser: GradientOptimiser,
    rows: list[dict[str, Any]],
    batch_size: int,
    loss: Loss = "nll",
    replay: Replay = NO_REPLAY,
) -> Any:
    """An SFTTrainer over `rows` of `prompt` and `completion` and what is replayed, the loss on completions alone."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from harness.gradient_loop import trainer_arguments
    from methods.objectives.dataset import of_one_form

    rows = of_one_form(stage.policy.tokenizer, [*rows, *replay.rows(stage, len(rows))])
    return in_parts(SFTTrainer, _lengths, _trimmed)(
        model=stage.policy.model,
        args=SFTConfig(
            **trainer_arguments(stage, batch_size), max_length=None, completion_only_loss=True, loss_type=loss
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=stage.policy.tokenizer,
        optimizers=optimiser.create(stage),
    )


def _lengths(inputs: Inputs) -> Any:
    return inputs["attention_mask"].sum(-1)


def _trimmed(inputs: Inputs) -> Inputs:
    return trim_right(inputs, "attention_mask", ("input_ids", "attention_mask", "labels", "position_ids"))


def demonstrations(batch_size: int, examples: int, loss: Loss = "nll", replay: Replay = NO_REPLAY) -> Demonstrations:
    """Imitate the task's demonstrations."""
    return Demonstrations(batch_size, examples, loss, replay)
