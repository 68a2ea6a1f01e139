"""Batches for learning from many described tasks: tasks first, then data points, then a description for each point.

The hierarchical sampler of Text-to-LoRA (Charakorn et al. 2025, arXiv 2506.06105, appendix): an update has so many
different tasks, of each so many points, and every point draws one of its task's descriptions. What an update draws
follows from the stage's seed and its number.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import UserError

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness.contracts import Item


@dataclass(frozen=True)
class Point:
    """Token ids of a prompt without its text, and of the demonstration after it."""

    prompt: list[int]
    completion: list[int]


@dataclass(frozen=True)
class DescribedPoints:
    """A task as it is learnt from."""

    descriptions: tuple[str, ...]
    items: tuple[Item, ...]


class Descriptions:
    """The described tasks of a stage, and batches drawn from them."""

    def __init__(self, stage: StageContext, examples: int, tasks: int, points: int) -> None:
        """`tasks` an update (all, if there are fewer), `points` of each; UserError if no task is described."""
        self.stage, self.points = stage, points
        task: Any = stage.task
        self.described = [
            DescribedPoints(tuple(one.descriptions), tuple(one.items))
            for one in task.described("train", examples)
            if one.items and one.descriptions
        ]
        if not self.described:
            raise UserError(f"{stage.task.name} has no described training task to learn from.")
        self.tasks = min(tasks, len(self.described))
        self._encoded: dict[str, Point] = {}

    @property
    def rows(self) -> int:
        """Rows of an update."""
        return self.tasks * self.points

    @property
    def texts(self) -> Sequence[str]:
        """Every description that can be drawn."""
        return list(dict.fromkeys(text for one in self.described for text in one.descriptions))

    def batch(self, number: int) -> dict[str, Any]:
        """Lists with one entry a row: `points`, and the `texts` that say what to do with them."""
        rng = random.Random(self.stage.seed("data", number))
        chosen, texts = [], []
        for one in rng.sample(self.described, self.tasks):
            for _ in range(self.points):
                chosen.append(self._point(rng.choice(one.items)))
                texts.append(rng.choice(one.descriptions))
        return {"points": chosen, "texts": texts}

    def _point(self, item: Item) -> Point:
        if item.id not in self._encoded:
            task: Any = self.stage.task
            self._encoded[item.id] = encoded(self.stage, task.prompt_with(item, ""), task.demonstration(item))
        return self._encoded[item.id]


def encoded(stage: StageContext, prompt: Any, answer: str) -> Point:
    """A question and its answer as token ids, an end token at the end; chat in the model's own template."""
    from methods.objectives.dataset import completion_columns, rendered

    tokenizer = stage.policy.tokenizer
    row = rendered(tokenizer, completion_columns(prompt, answer))
    before = list(tokenizer(row["prompt"]).input_ids)
    whole = list(tokenizer(row["prompt"] + row["completion"]).input_ids)
    after = whole[len(before) :] if whole[: len(before)] == before else list(tokenizer(row["completion"]).input_ids)
    end = tokenizer.eos_token_id
    return Point(before, after if after[-1:] == [end] else [*after, end])
