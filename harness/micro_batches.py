"""One update's batch in micro-batches: each goes forward and backward by itself, and the gradients add up.

The batch, its rows and everything drawn for it are those of the whole update; only the computation is split, with
shares that make the sum of the losses the loss of the whole batch. Exact for a loss that is a mean over rows, or over
the tokens of `labels`; a term that is another mean (KTO's reference point, a likelihood term beside a preference loss)
is taken over each micro-batch, and its objective says so.

The processes of a run (`harness.ranks`) share an update's micro-batches, and all have the whole gradient afterwards, or
each that of its own tensors (`harness.sharded_gradients`). What is drawn at random on the way (dropout) follows from
the update and the micro-batch there.

When memory runs out the micro-batch is halved and the update begun again: the batch stays the same, no finished update
is lost, and the record says what happened. What the failed attempt computed counts as time, not as training.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import OutOfMemory, is_out_of_memory
from harness.trainer_metrics import TrainerMetrics

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness.sharded_gradients import ShardedGradients

Inputs = dict[str, Any]
_COUNTED = ("trained_tokens", "flops")
Split = Callable[[Inputs, int, Any], list[tuple[Inputs, float]]]


class MicroBatches:
    """Stands in for a trainer's `compute_loss`: computes and back-propagates the loss, part by part.

    A trainer that gathers something over an update's micro-batches has `begin_update()`, called before the first.
    """

    def __init__(
        self, stage: StageContext, trainer: Any, split: Split | None, sharded: ShardedGradients | None = None
    ) -> None:
        """`sharded` is how the gradients of the policy's tensors are spread over the processes, where they are."""
        self.stage = stage
        self._trainer, self._sharded = trainer, sharded
        self._loss = trainer.compute_loss
        self._split = split or split_rows
        trainer.compute_loss = self

    def __call__(self, model: Any, inputs: Inputs, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """The loss of the whole batch, its gradient already added to the weights: what is returned carries none."""
        if return_outputs or not torch.is_grad_enabled():
            return self._loss(model, inputs, return_outputs, num_items_in_batch=num_items_in_batch)
        ranks, values = self.stage.run.ranks, self.stage.run.meters.values
        while True:
            counted, noted = {name: values[name] for name in _COUNTED}, TrainerMetrics(self._trainer)
            total, parts = None, self._parts(inputs, num_items_in_batch)
            self.stage.micro_batch = self._rows()
            if hasattr(self._trainer, "begin_update"):
                self._trainer.begin_update()
            if self._sharded is not None:
                self._sharded.begin(math.ceil(len(parts) / ranks.count))
            try:
                total = self._sum(model, parts, num_items_in_batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # outside `except`: the error holds on to what was computed
            if self._sharded is not None:
                self._sharded.finish()
            if all(ranks.gather(total is not None)) and total is not None:
                return self._together(total, counted, noted) if ranks.count > 1 else total
            values.update(counted)
            self._halve(model)

    def _parts(self, inputs: Inputs, items: Any) -> list[tuple[Inputs, float]]:
        """The update's micro-batches, everybody's, each with its share of the loss."""
        parts = self.stage.accumulation * self.stage.run.ranks.count
        return self._split(inputs, parts, items) if parts > 1 else [(inputs, 1.0)]

    def _sum(self, model: Any, parts: list[tuple[Inputs, float]], items: Any) -> torch.Tensor:
        """The loss of this process's micro-batches."""
        total = torch.zeros(())
        with self._drawn_by_part() as draw:
            for number in self.stage.run.ranks.share(len(parts)):
                draw(number)
                part, share = parts[number]
                loss = self._loss(model, part, num_items_in_batch=items)
                loss = loss if share == 1.0 else share * loss
                self._trainer.accelerator.backward(loss)
                total = loss.detach() + total.to(loss.device)
                if self._sharded is not None:
                    self._sharded.end_round()
        return total.requires_grad_()

    @contextmanager
    def _drawn_by_part(self) -> Iterator[Callable[[int], None]]:
        """Yields what is called before each micro-batch. With several processes its random numbers follow from update
        and number, and the generators stand afterwards where they stood: everybody's, whoever computed what."""
        if self.stage.run.ranks.count == 1:
            yield lambda number: None
            return
        with torch.random.fork_rng():
            yield lambda number: _seed(self.stage.seed("micro-batch", self.stage.step, number))

    def _together(self, total: torch.Tensor, before: dict[str, float], noted: TrainerMetrics) -> torch.Tensor:
        """The loss, with gradients, counts and logged figures of all processes in place."""
        ranks, values = self.stage.run.ranks, self.stage.run.meters.values
        noted.put_together(ranks)
        whole = total.detach().to(self._trainer.args.device)
        if self._sharded is not None:
            self._sharded.hand_out()
        ranks.add([whole, *self._gradients()])
        spent = ranks.gather({name: values[name] - amount for name, amount in before.items()})
        values.update({name: amount + sum(one[name] for one in spent) for name, amount in before.items()})
        return whole.requires_grad_()

    def _gradients(self) -> list[torch.Tensor]:
        """Of everything that the update moves and that is not spread, the same tensors in every process: zero where
        nothing was computed."""
        objective = getattr(self._trainer, "objective", None)
        beside: list[torch.nn.Parameter] = [] if objective is None else objective.beside()
        tensors = [*(self.stage.policy.tensors().values() if self._sharded is None else ()), *beside]
        has = [any(of_all) for of_all in zip(*self._ranks_have(tensors), strict=True)]
        found = []
        for tensor, somewhere in zip(tensors, has, strict=True):
            if somewhere:
                tensor.grad = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
                found.append(tensor.grad)
        return found

    def _ranks_have(self, tensors: list[torch.nn.Parameter]) -> list[list[bool]]:
        return self.stage.run.ranks.gather([tensor.grad is not None for tensor in tensors])

    def _rows(self) -> int:
        """Rows of the larger micro-batches of a full batch."""
        parts = self.stage.accumulation * self.stage.run.ranks.count
        return math.ceil(self._trainer.args.per_device_train_batch_size / parts)

    def _halve(self, model: Any) -> None:
        """Half the rows from now on; OutOfMemory if there is one only."""
        stage = self.stage
        old = self._rows()
        if old == 1:
            raise OutOfMemory(
                f"One row of {type(self._trainer).__name__}'s batch alone does not fit into memory: turn on "
                "gradient_checkpointing (training), lower max_new_tokens (evaluation), or take an adapter method or a "
                "smaller model."
            )
        model.zero_grad(set_to_none=True)
        free_memory()
        parts = self._trainer.args.per_device_train_batch_size / math.ceil(old / 2)
        stage.accumulation = math.ceil(parts / stage.run.ranks.count)
        new = self._rows()
        stage.run.events.write(
            "micro_batch", stage=stage.index, step=stage.step + 1, reason="out of memory", old=old, new=new
        )


def _seed(seed: int) -> None:
    torch.manual_seed(seed)


def free_memory() -> None:
    """Give back what nobody holds any more, after memory ran out."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def split_rows(inputs: Inputs, parts: int, items: Any = None, blocks: int = 1) -> list[tuple[Inputs, float]]:
    """Cut a batch in `parts` of nearly equal numbers of rows, each with its share of the loss.

    `blocks` is for batches that hold several lists of rows one below another (preference pairs: first all chosen, then
    all rejected answers), which are cut alike. `items` is what the whole batch's loss is divided by, where the trainer
    divides by it in each part: then the losses simply add up.
    """
    cut = [part_of(inputs, chosen, blocks) for chosen in torch.arange(rows_of(inputs) // blocks).chunk(parts)]
    return [(part, 1.0 if items is not None else share_of(part, inputs)) for part in cut]


def part_of(inputs: Inputs, chosen: torch.Tensor, blocks: int = 1) -> Inputs:
    """The batch with the rows `chosen` alone: whatever has one entry a row (and block) is cut, the rest is as it is."""
    every = rows_of(inputs)
    rows = every // blocks
    places = {every: torch.cat([chosen + block * rows for block in range(blocks)])}
    if blocks > 1:
        places[rows] = chosen
    return {key: _taken(value, places.get(_length(value) or 0)) for key, value in inputs.items()}


def share_of(part: Inputs, whole: Inputs) -> float:
    """A part's weight in a mean: its answer tokens where there are labels, else its rows."""
    if "labels" in whole:
        return float((part["labels"] != -100).sum() / (whole["labels"] != -100).sum())
    return rows_of(part) / rows_of(whole)


def rows_of(inputs: Inputs) -> int:
    """How many rows a batch has: the length of its longest entry."""
    return max(length for length in map(_length, inputs.values()) if length is not None)


def _length(value: Any) -> int | None:
    """How many rows an entry has, if it has rows."""
    if isinstance(value, torch.Tensor):
        return len(value) if value.ndim else None
    return len(value) if isinstance(value, (list, tuple)) else None


def _taken(value: Any, places: torch.Tensor | None) -> Any:
    if places is None:
        return value
    return value[places.to(value.device)] if isinstance(value, torch.Tensor) else [value[i] for i in places.tolist()]
