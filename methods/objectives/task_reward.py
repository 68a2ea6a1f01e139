"""The task's verifiable reward as a fitness: no gradient, a number for each answer.

All members of a population answer the same training prompts; a member's fitness is its mean reward (Qiu et al. 2025,
arXiv 2509.24372, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import Grade, Item, Offer, Signal
from methods.objectives.walk import shuffled_walk

if TYPE_CHECKING:
    from harness.context import StageContext


@dataclass(frozen=True)
class TaskReward:
    """Reward of `prompts` training items an iteration, drawn anew each time from the first `examples`."""

    prompts: int
    examples: int
    name = "task-reward"
    gives: frozenset[Signal] = frozenset({"fitness"})
    needs: frozenset[Offer] = frozenset({"verifier"})

    def batch(self, stage: StageContext, iteration: int) -> Sequence[Item]:
        """The items of one iteration: a walk through a shuffled training split, reshuffled every pass."""
        return shuffled_walk(stage, iteration, self.prompts, self.examples)

    def score(self, stage: StageContext, item: Item, completion: str) -> float:
        """The reward of one answer."""
        return self.grade(stage, item, completion).reward

    def grade(self, stage: StageContext, item: Item, completion: str) -> Grade:
        """The whole verdict on one answer: what is right is logged apart from what is well formed."""
        return stage.task.grade(item, completion)

    def describe(self) -> dict[str, Any]:
        return {"prompts": self.prompts, "examples": self.examples}


def task_reward(prompts: int, examples: int) -> TaskReward:
    """The mean verifiable reward over `prompts` items an iteration."""
    return TaskReward(prompts, examples)
