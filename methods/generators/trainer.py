"""A transformers Trainer that meta-trains a generator: an update's batch follows from the update's number alone.

`batch(number)` makes the rows of an update, every entry a tensor with one row each or a list; `loss(inputs)` is a mean
over rows, so that rows may be computed in parts (`harness.micro_batches`). Nothing else is part of a checkpoint than
weights, optimiser and random state: a resumed run takes the batches that come next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from harness.errors import UserError
from harness.gradient_loop import trainer_arguments

if TYPE_CHECKING:
    from harness.context import StageContext

Inputs = dict[str, Any]
_ENDLESS = 2**40  # updates: the budget ends a stage


class GeneratorTrainer(Trainer):
    """Trains the hypernetwork of `stage.policy`."""

    def __init__(
        self,
        stage: StageContext,
        rows: int,
        batch: Callable[[int], Inputs],
        loss: Callable[[Inputs], tuple[torch.Tensor, dict[str, float]]],
        optimizers: tuple[Any, Any],
    ) -> None:
        """`rows` an update; `loss` gives the loss and what to log beside it."""
        if stage.training.gradient_checkpointing:
            raise UserError(
                "gradient_checkpointing refused: what is computed again would be without the generated adapters; use "
                "accumulation, which needs less memory too."
            )
        self._stage, self._batch, self._loss = stage, batch, loss
        self._values: dict[str, list[float]] = {}
        arguments = TrainingArguments(**trainer_arguments(stage, rows))
        super().__init__(model=stage.policy.model, args=arguments, train_dataset=range(_ENDLESS), optimizers=optimizers)

    def get_train_dataloader(self) -> Any:
        """Numbers of updates, from 0."""
        loader = DataLoader(self.train_dataset, batch_size=1, collate_fn=lambda one: {"number": torch.tensor(one[0])})
        return self.accelerator.prepare(loader)

    def _prepare_inputs(self, inputs: Inputs) -> Inputs:
        made = self._batch(int(inputs["number"]))
        device = self.args.device
        return {name: one.to(device) if isinstance(one, torch.Tensor) else one for name, one in made.items()}

    def compute_loss(
        self, model: Any, inputs: Inputs, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The mean over the rows of `inputs`."""
        loss, values = self._loss(inputs)
        for name, value in values.items():
            self._values.setdefault(name, []).append(value)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        dealt = self._stage.run.ranks.gather(self._values)
        names = dict.fromkeys(name for one in dealt for name in one)  # a process may have had nothing to compute
        self._values = {name: [value for one in dealt for value in one.get(name, [])] for name in names}
        logs.update({name: sum(values) / len(values) for name, values in self._values.items()})
        self._values.clear()
        super().log(logs, start_time)
