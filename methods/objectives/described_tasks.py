"""End-to-end training of a generator over many described tasks: minus the log-likelihood of demonstrations, the
description read by the hypernetwork alone.

mean over rows of 1/T sum_t L(y_t | x, y_<t; base + h(z)) with z one description of the row's task, drawn anew for every
row, and the prompt x without it; L is cross-entropy with label smoothing, and `penalty` weighs the mean square of the
generated factors (Charakorn et al. 2025, arXiv 2506.06105, section 3.2 and table 11: 8 tasks of one row an update, rate
2.5e-5, smoothing 0.1, penalty 1e-3, a million updates for 479 tasks on a 7B model). Data: a task that offers
demonstrations and descriptions. Sane rates: 1e-5 to 1e-4 for 2B and more, 1e-3 for a lab model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import GradientOptimiser, Offer, Signal

if TYPE_CHECKING:
    import torch

    from harness.context import StageContext
    from harness.generated import GeneratedAdapters


@dataclass(frozen=True)
class DescribedTasks:
    """Learn to adapt to a task from its description."""

    tasks: int
    points: int
    examples: int
    label_smoothing: float
    penalty: float
    name = "described-tasks"
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset({"demonstrations", "descriptions"})

    @property
    def batch_size(self) -> int:
        """Rows of an update, where the task has enough tasks."""
        return self.tasks * self.points

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """A trainer of the stage's hypernetwork."""
        from methods.generators.descriptions import Descriptions
        from methods.generators.trainer import GeneratorTrainer

        learnt = Descriptions(stage, self.examples, self.tasks, self.points)
        read_ahead(stage, learnt.texts)
        stage.run.events.write("described", tasks=len(learnt.described), descriptions=len(learnt.texts))

        def loss(inputs: dict[str, Any]) -> tuple[torch.Tensor, dict[str, float]]:
            stage.charge_generator(inputs["texts"])
            return described_loss(stage.policy.model, inputs, self.label_smoothing, self.penalty)

        return GeneratorTrainer(stage, learnt.rows, learnt.batch, loss, optimiser.create(stage))

    def describe(self) -> dict[str, Any]:
        return {
            "tasks": self.tasks, "points": self.points, "examples": self.examples,
            "label_smoothing": self.label_smoothing, "penalty": self.penalty,
        }  # fmt: skip


def read_ahead(stage: StageContext, texts: list[str]) -> None:
    """Have the encoder read all training texts once; charged to the budget, but not again when a run is resumed."""
    tokens = sum(len(stage.policy.tokenizer(text).input_ids) for text in texts)
    model, fresh = stage.policy.model, stage.resume_from is None
    with stage.run.meters.clock("train" if fresh else "overhead"):
        model.hypernetwork.encoder.encode(model.base, stage.policy.tokenizer, texts)
    if fresh:
        stage.charge_forward(tokens)


def described_loss(
    model: Any, inputs: dict[str, Any], smoothing: float, penalty: float
) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss of `points` under the adapters that `model` writes for their `texts`, and what to log beside it."""
    from methods.objectives.rows_of_answers import answer_rows

    adapters, points = model.write(inputs["texts"]), inputs["points"]
    answers = [one.completion for one in points]
    rows = answer_rows([one.prompt for one in points], answers, model.base.device)
    with model.applied(adapters):
        logits = rows.logits(model)
    answer, size = answer_loss(logits, answers, smoothing), mean_square(adapters)
    return answer + penalty * size, {"answer_loss": float(answer.detach()), "adapter_size": float(size.detach())}


def answer_loss(logits: torch.Tensor, answers: Sequence[Sequence[int]], smoothing: float) -> torch.Tensor:
    """Cross-entropy [] under `logits` [tokens of all answers, vocabulary]: mean over a row's tokens, then over rows."""
    import torch

    logprobs = torch.log_softmax(logits.float(), -1)
    wanted = torch.tensor([token for answer in answers for token in answer], device=logits.device)
    chosen = logprobs.gather(-1, wanted[:, None])[:, 0]
    tokens = -(1 - smoothing) * chosen - smoothing * logprobs.mean(-1)
    return torch.stack([row.mean() for row in tokens.split([len(answer) for answer in answers])]).mean()


def mean_square(adapters: GeneratedAdapters) -> torch.Tensor:
    """mean A^2 + mean B^2, the mean over modules."""
    import torch

    return torch.stack(
        [adapters.down[n].square().mean() + adapters.up[n].square().mean() for n in adapters.down]
    ).mean()


def described_tasks(
    tasks: int, points: int, examples: int, label_smoothing: float = 0.1, penalty: float = 1e-3
) -> DescribedTasks:
    """Learn from `tasks` described tasks an update, `points` demonstrations of each."""
    return DescribedTasks(tasks, points, examples, label_smoothing, penalty)
