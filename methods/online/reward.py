"""What training is rewarded for: the task's verifier, or a control that can teach nothing.

`verifier` is the task's own reward. The two controls keep every cost and take the meaning away: `constant` gives 1 to
every completion, so that a method whose advantages are differences must not move at all; `shuffled` deals the
verifier's rewards of a batch out again at random, so that no gain beyond chance is possible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import Item, Offer
from methods.settings import RewardSource

if TYPE_CHECKING:
    from harness.context import StageContext

Scorer = Callable[[Sequence[Item], Sequence[str], int], list[float]]
"""Rewards of completions (one an item, in order) in the batch of a given number."""


@dataclass(frozen=True)
class Reward:
    """One number for each completion."""

    source: RewardSource = "verifier"

    @property
    def needs(self) -> frozenset[Offer]:
        """What a task must offer for this reward."""
        return frozenset({"verifier"})

    def scorer(self, stage: StageContext) -> Scorer:
        """What scores completions in `stage`."""
        task = stage.task

        def verified(items: Sequence[Item], texts: Sequence[str], batch: int) -> list[float]:
            return [task.grade(item, text).reward for item, text in zip(items, texts, strict=True)]

        def constant(items: Sequence[Item], texts: Sequence[str], batch: int) -> list[float]:
            return [1.0] * len(texts)

        def shuffled(items: Sequence[Item], texts: Sequence[str], batch: int) -> list[float]:
            import random

            rewards = verified(items, texts, batch)
            random.Random(stage.seed("shuffled-rewards", batch)).shuffle(rewards)
            return rewards

        return {"verifier": verified, "constant": constant, "shuffled": shuffled}[self.source]

    def describe(self) -> dict[str, Any]:
        return {"reward": self.source}


VERIFIED = Reward()
"""The task's own verifier."""
