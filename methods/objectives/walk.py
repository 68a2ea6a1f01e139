"""A walk through the training split for objectives that draw their own batches: every item once a pass.

The batch of an iteration follows from the iteration alone, so that a resumed or replayed search sees the same items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.contracts import Item

if TYPE_CHECKING:
    from harness.context import StageContext


def shuffled_walk(stage: StageContext, iteration: int, count: int, examples: int) -> Sequence[Item]:
    """`count` items of the first `examples`, the next in a shuffled order that is drawn anew every pass."""
    import random

    items = stage.train_items(examples)
    count = min(count, len(items))
    chosen = []
    for position in range(iteration * count, (iteration + 1) * count):
        pass_number, place = divmod(position, len(items))
        if place == 0 or not chosen:
            order = random.Random(stage.seed("data", pass_number)).sample(range(len(items)), len(items))
        chosen.append(items[order[place]])
    return chosen
