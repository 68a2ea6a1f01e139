"""What training is rewarded for: the task's verifier, a learned reward model, or both.

`verifier` is the task's own reward. `reward-model` and `process-reward-model` are scores of a model that a run of that
method left (or an earlier stage of the same pipeline), scaled to mean 0 and deviation 1 on the start policy's
completions; `verifier+...` adds `weight` times such a score to the verifier's reward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts import Completion, Item, Offer, Task
from harness.errors import UserError
from methods.reward_models.card import FOLDER, read_card
from methods.settings import RewardSource

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness.spec import ModelReference

Scorer = Callable[[Sequence[Item], Sequence[Completion]], list[float]]
"""Rewards of completions, one an item, in order."""


@dataclass(frozen=True)
class Reward:
    """One number for each completion."""

    source: RewardSource = "verifier"
    model: str | None = None
    """Folder of a reward model."""
    weight: float = 1.0
    trained_before: bool = False
    """An earlier stage of the same pipeline trains the reward model."""

    @property
    def learned(self) -> str | None:
        """The kind of reward model that scores, or None."""
        kind = self.source.removeprefix("verifier+")
        return kind if kind.endswith("reward-model") else None

    @property
    def needs(self) -> frozenset[Offer]:
        """What a task must offer for this reward."""
        return frozenset() if self.source == self.learned else frozenset({"verifier"})

    def refuses(self, task: Task, model: ModelReference | None) -> str | None:
        """Why this reward cannot be had on `task`; None if it can."""
        if self.learned is None:
            given = f"reward_model={self.model!r} is given, but reward={self.source!r} does not use it: drop one"
            return None if self.model is None else given
        if self.trained_before:
            return None
        if self.model is None:
            return f"reward={self.source!r} needs reward_model=DIRECTORY of a finished run of {self.learned}"
        try:
            card = read_card(self.model)
        except UserError as error:
            return str(error)
        if card.kind != self.learned:
            return f"{self.model} is a {card.kind}, reward={self.source!r} needs a {self.learned}"
        if card.task != task.name:
            return f"{self.model} was trained on the task {card.task!r} and knows nothing of {task.name!r}"
        return None

    def scorer(self, stage: StageContext) -> Scorer:
        """What scores completions in `stage`; loads the reward model if there is one."""
        task = stage.task

        def verified(items: Sequence[Item], answers: Sequence[Completion]) -> list[float]:
            return [task.grade(item, answer.text).reward for item, answer in zip(items, answers, strict=True)]

        if self.learned is None:
            return verified
        judge = self._judge(stage)

        def judged(items: Sequence[Item], answers: Sequence[Completion]) -> list[float]:
            return judge.rewards([task.prompt(item) for item in items], answers)  # type: ignore[no-any-return]

        def both(items: Sequence[Item], answers: Sequence[Completion]) -> list[float]:
            pairs = zip(verified(items, answers), judged(items, answers), strict=True)
            return [reward + self.weight * score for reward, score in pairs]

        return judged if self.source == self.learned else both

    def _judge(self, stage: StageContext) -> Any:
        from methods.reward_models.judge import Judge

        if not self.trained_before:
            return Judge(stage, Path(str(self.model)))
        folder = stage.run.directory.path / FOLDER
        if not folder.exists():
            raise UserError(
                "The first stage has trained no reward model: sampling used up its share of the budget. Give it a "
                "larger share, or sample fewer prompts."
            )
        return Judge(stage, folder)

    def describe(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"reward": self.source}
        if self.source.startswith("verifier+"):
            shown["reward_weight"] = self.weight
        return shown


VERIFIED = Reward()
"""The task's own verifier."""
