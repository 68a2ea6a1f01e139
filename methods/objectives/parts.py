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


def in_parts(trainer: type, lengths: Callable[[Inputs], torch.Tensor], trim: Callable[[Inputs], Inputs]) -> type:
    """A subclass of `trainer` that sorts a batch by `lengths` [rows] and computes `PARTS` trimmed parts of it."""

    class InParts(trainer):  # type: ignore[misc, valid-type]
        def compute_loss(
            self, model: Any, inputs: Inputs, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            rows = len(lengths(inputs))
            if return_outputs or rows < 2 * PARTS:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            total = 0.0
            for chosen in lengths(inputs).argsort(stable=True).chunk(PARTS):
                part = trim({key: _rows(value, chosen, rows) for key, value in inputs.items()})
                share = 1.0 if num_items_in_batch is not None else _share(part, inputs, rows)
                loss = super().compute_loss(model, part, num_items_in_batch=num_items_in_batch)
                total = total + share * loss
            return total

    InParts.__name__ = InParts.__qualname__ = trainer.__name__
    return InParts


def trim_right(inputs: Inputs, mask: str, keys: tuple[str, ...]) -> Inputs:
    """Cut columns on the right that `mask` [rows, tokens] leaves unused in every row."""
    width = int(inputs[mask].sum(-1).max())
    return {key: value[:, :width] if key in keys and value is not None else value for key, value in inputs.items()}


def _rows(value: Any, chosen: torch.Tensor, rows: int) -> Any:
    """The chosen rows of whatever has one entry a row; everything else as it is."""
    import torch

    return value[chosen] if isinstance(value, torch.Tensor) and value.ndim and len(value) == rows else value


def _share(part: Inputs, whole: Inputs, rows: int) -> float:
    """A part's weight in a mean: its answer tokens where there are labels, else its rows."""
    if "labels" in whole:
        return float((part["labels"] != -100).sum() / (whole["labels"] != -100).sum())
    first = next(value for value in part.values() if hasattr(value, "ndim") and value.ndim)
    return len(first) / rows
