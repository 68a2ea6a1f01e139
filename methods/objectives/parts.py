"""The same loss computed in parts of similar length, so that a batch with one long row is not padded to it everywhere.

`in_parts(TrainerClass, ...)` is that trainer with another order of summation and nothing else: the parts' losses are
weighted so that their sum is the loss of the whole batch (up to floating-point order). On short answers of uneven
length this saves more than half of the operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Inputs = dict[str, Any]
PARTS = 4


def in_parts(
    trainer: type,
    lengths: Callable[[Inputs], torch.Tensor],
    trim: Callable[[Inputs], Inputs],
    summed: bool = False,
) -> type:
    """A subclass of `trainer` that sorts a batch by `lengths` [rows] and computes `PARTS` trimmed parts of it.

    `summed`: the trainer divides by a count that it knows of the whole batch, so that the parts' losses just add up.
    """

    class InParts(trainer):  # type: ignore[misc, valid-type]
        def compute_loss(
            self, model: Any, inputs: Inputs, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            from harness.micro_batches import part_of, share_of

            if return_outputs or len(lengths(inputs)) < 2 * PARTS:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            total = 0.0
            for chosen in lengths(inputs).argsort(stable=True).chunk(PARTS):
                part = trim(part_of(inputs, chosen))
                share = 1.0 if summed or num_items_in_batch is not None else share_of(part, inputs)
                loss = super().compute_loss(model, part, num_items_in_batch=num_items_in_batch)
                total = total + share * loss
            return total

    InParts.__name__ = InParts.__qualname__ = trainer.__name__
    return InParts


def trim_right(inputs: Inputs, mask: str, keys: tuple[str, ...]) -> Inputs:
    """Cut columns on the right that `mask` [rows, tokens] leaves unused in every row."""
    width = max(1, int(inputs[mask].sum(-1).max()))
    return {key: value[:, :width] if key in keys and value is not None else value for key, value in inputs.items()}
