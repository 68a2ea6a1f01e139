"""A transformers Trainer over batches of the policy's own rollouts, for objectives that TRL does not have.

An objective collects a batch of rows and gives the loss of some of them; this trainer deals every batch out to
`minibatches` x `epochs` updates, sums each loss in parts of similar length, and makes the batch a part of the
checkpoint. Which rows an update takes follows from its number alone, so that a resumed run takes the same.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from harness.gradient_loop import trainer_arguments
from methods.online.forward import Rows, chosen_rows
from methods.online.kept import load_batches, save_batches

if TYPE_CHECKING:
    from harness.context import StageContext

_PARTS = 4
_ENDLESS = 2**40  # updates: the budget ends a stage


class Totals(NamedTuple):
    """How much one update averages over."""

    rows: int
    tokens: float


class OnlineObjective(Protocol):
    """What this trainer drives."""

    def collect(self, batch: int) -> tuple[Rows, dict[str, float]]:
        """The rows of batch number `batch`, first dimension rows, and what to log of them."""
        ...

    def loss(self, rows: Rows, totals: Totals) -> tuple[torch.Tensor, dict[str, float]]:
        """These rows' share of the loss of an update, and of what to log: shares add up."""
        ...

    def remember(self) -> dict[str, float]:
        """State beyond weights that decides what comes next."""
        ...

    def recall(self, state: dict[str, float]) -> None: ...

    def save(self, folder: Path) -> None:
        """Write further tensors into a checkpoint."""
        ...

    def load(self, folder: Path) -> None: ...

    def beside(self) -> list[torch.nn.Parameter]:
        """Further tensors whose gradients an update gathers."""
        ...

    def begin(self) -> None:
        """An update's gradients begin to gather, for the first time or again after memory ran out."""
        ...

    def update(self, learning_rate: float) -> None:
        """Update further tensors from their gradients, once an update; `learning_rate` is the policy's now."""
        ...


class OnlineTrainer(Trainer):
    """Trains `stage.policy` by `objective`."""

    def __init__(
        self,
        stage: StageContext,
        objective: OnlineObjective,
        rows_an_update: int,
        minibatches: int,
        epochs: int,
        optimizers: tuple[Any, Any],
    ) -> None:
        from trl.trainer.utils import disable_dropout_in_model

        self.stage, self.objective = stage, objective
        self.rows_an_update, self.minibatches, self.epochs = rows_an_update, minibatches, epochs
        self.rows: Rows | None = None
        self.values: dict[str, float] = {}
        """What to log of the batch."""
        self.shares: dict[str, float] = defaultdict(float)
        """What to log of the update: sums over its rows."""
        disable_dropout_in_model(stage.policy.model)
        arguments = TrainingArguments(**trainer_arguments(stage, rows_an_update))
        super().__init__(model=stage.policy.model, args=arguments, train_dataset=range(_ENDLESS), optimizers=optimizers)

    def get_train_dataloader(self) -> Any:
        """Numbers of updates, from 0."""
        loader = DataLoader(self.train_dataset, batch_size=1, collate_fn=lambda one: {"number": torch.tensor(one[0])})
        return self.accelerator.prepare(loader)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> Rows:
        """The rows of one update, and the totals that its loss is divided by."""
        batch, within = divmod(int(inputs["number"]), self.minibatches * self.epochs)
        if self.rows is None or within == 0:
            self.rows, self.values = self.objective.collect(batch)
        epoch, minibatch = divmod(within, self.minibatches)
        mine = self._order(batch, epoch).chunk(self.minibatches)[minibatch]
        rows = chosen_rows(self.rows, mine)
        return rows | {"rows": torch.tensor(len(mine)), "tokens": rows["completion_mask"].sum()}

    def begin_update(self) -> None:
        """Gradients begin to gather, for the first time or again after memory ran out."""
        self.shares.clear()
        self.objective.begin()

    def compute_loss(
        self, model: Any, inputs: Rows, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The share of these rows in the loss of their update, in parts of similar length."""
        totals = Totals(int(inputs["rows"]), float(inputs["tokens"]))
        rows = {name: value for name, value in inputs.items() if value.ndim}
        total: Any = 0.0
        for part in rows["completion_mask"].sum(-1).argsort(stable=True).chunk(_PARTS):
            loss, values = self.objective.loss(chosen_rows(rows, part), totals)
            total = total + loss
            for name, value in values.items():
                self.shares[name] += value
        return total  # type: ignore[no-any-return]

    def training_step(self, *arguments: Any, **keywords: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*arguments, **keywords)
        dealt = self.stage.run.ranks.gather(dict(self.shares))
        self.shares = defaultdict(float, {name: sum(one.get(name, 0.0) for one in dealt) for name in dealt[0]})
        self.objective.update(self.optimizer.param_groups[0]["lr"])
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        logs.update(self.values | self.shares)
        self.values = {}
        self.shares.clear()
        super().log(logs, start_time)

    def _order(self, batch: int, epoch: int) -> torch.Tensor:
        """The rows of a batch in the order of one pass; `minibatches` equal parts of it are the updates."""
        from harness.streams import generator

        count = self.rows_an_update * self.minibatches
        return torch.randperm(count, generator=generator(self.stage.seed("minibatches"), batch, epoch))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        used_up = self.state.global_step % (self.minibatches * self.epochs) == 0
        save_batches(folder, [] if used_up or self.rows is None else [self.rows], self.objective.remember())
        self.objective.save(folder)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            batches, state = load_batches(Path(checkpoint), self.args.device)
            self.rows = batches[0] if batches else None
            self.objective.recall(state)
            self.objective.load(Path(checkpoint))
