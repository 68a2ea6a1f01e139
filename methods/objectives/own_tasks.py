"""A LoRA of its own for every described task that a run is evaluated on, trained on that task's own demonstrations.

Minus the mean log-likelihood of a row's tokens, then over rows; the rows of a task move that task's adapter alone. The
upper line beside generated adapters, which have not seen a single demonstration of these tasks (Charakorn et al. 2025,
arXiv 2506.06105, section 4: "task-specific LoRA"; its appendix: rate 8e-5, 8 rows an update). Or a LoRA for every one
of the training split, as a library to learn from: all of these begin with one draw, since a network that is to write
them would have to learn each draw by heart. Data: a task whose underlying tasks are described, and of which one alone
can be had (`only`) with training items of its own.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import GradientOptimiser, Offer, Signal, Task
from harness.registry import find_task, load_task
from harness.spec import Budget, ModelReference
from harness.update_size import Planned, UpdateSize

if TYPE_CHECKING:
    from harness.context import StageContext

_ALONE = "only"
_LOOKED_AT = 64  # items, for an estimate


@dataclass(frozen=True)
class OwnTasks:
    """`tasks` an update, `points` demonstrations of each, out of `examples`, seen `passes` times."""

    tasks: int
    points: int
    examples: int
    passes: int
    described: int | None = None
    """Training items whose tasks they are; None takes the tasks of the evaluation."""
    name = "own-tasks"
    gives: frozenset[Signal] = frozenset({"gradient"})
    needs: frozenset[Offer] = frozenset({"demonstrations", "descriptions"})

    def refuses(self, task: Task, model: ModelReference | None) -> str | None:
        """A task of which no part can be had alone."""
        if _ALONE not in find_task(task.name).parameters:
            return f"task {task.name!r} has no parameter {_ALONE!r} that gives one of its underlying tasks alone"
        return None

    def trainer(self, stage: StageContext, optimiser: GradientOptimiser) -> Any:
        """A trainer of one adapter a task."""
        from methods.generators.descriptions import encoded
        from methods.generators.trainer import GeneratorTrainer
        from methods.objectives.described_tasks import described_loss

        texts = self._texts(stage)
        names, library = list(texts), self.described is not None
        stage.policy.model.hypernetwork.hold([list(texts[name]) for name in names], stage.seed("adapters"), library)

        def own_points(name: str) -> list[Any]:
            task = self._alone(stage, name)
            items = task.items("train", self.examples)
            return [encoded(stage, task.prompt_with(item, ""), task.demonstration(item)) for item in items]

        points = [own_points(name) for name in names]
        together, each = min(self.tasks, len(names)), min(self.points, min(map(len, points)))
        turns = math.ceil(len(names) / together)
        updates = turns * self.passes * math.ceil(max(map(len, points)) / each)
        stage.own_budget = Budget(steps=updates)
        stage.run.events.write("own_tasks", tasks=len(names), demonstrations=sum(map(len, points)), updates=updates)

        def batch(number: int) -> dict[str, Any]:
            rng = random.Random(stage.seed("data", number))
            start = number % turns * together
            chosen = range(start, min(start + together, len(names)))
            return {
                "points": [point for at in chosen for point in rng.sample(points[at], each)],
                "texts": [next(iter(texts[names[at]])) for at in chosen for _ in range(each)],
            }

        def loss(inputs: dict[str, Any]) -> Any:
            return described_loss(stage.policy.model, inputs, 0.0, 0.0)

        return GeneratorTrainer(stage, together * each, batch, loss, optimiser.create(stage))

    def update_size(self, planned: Planned) -> UpdateSize:
        """By the tasks of the evaluation and the demonstrations of each that training could have."""
        task: Any = planned.task
        wanted = planned.evaluated if self.described is None else {"train": self.described}
        names = {one.id for split, count in wanted.items() for one in task.described(split, count) if one.descriptions}
        turns = math.ceil(len(names) / self.tasks)
        some = task.items("train", _LOOKED_AT)
        texts = [text for one in some for text in (task.prompt_with(one, ""), task.demonstration(one))]
        updates = turns * self.passes * math.ceil(self.examples / self.points)
        return UpdateSize(
            len(names) / turns * self.points, sum(map(planned.tokens, texts)) / len(some) + 1, updates=updates
        )

    def describe(self) -> dict[str, Any]:
        return {
            "tasks": self.tasks, "points": self.points, "examples": self.examples, "passes": self.passes,
            "of": "those of the evaluation" if self.described is None else f"{self.described} training items",
        }  # fmt: skip

    def _alone(self, stage: StageContext, name: str) -> Any:
        spec = stage.run.spec.task
        return stage.run.controlled(load_task(spec.name, **{**spec.parameters, _ALONE: name}))

    def _texts(self, stage: StageContext) -> dict[str, dict[str, None]]:
        """Every task that a LoRA is trained for, with the descriptions that it goes by."""
        task: Any = stage.task
        found: dict[str, dict[str, None]] = {}
        wanted = stage.run.spec.evaluation.asked() if self.described is None else {"train": self.described}
        for split, count in wanted.items():
            for one in task.described(split, count):
                found.setdefault(one.id, {}).update(dict.fromkeys(one.descriptions))
        return {name: texts for name, texts in found.items() if texts}


def own_tasks(tasks: int, points: int, examples: int, passes: int, described: int | None = None) -> OwnTasks:
    """One LoRA for each task of the evaluation, or of the first `described` training items."""
    return OwnTasks(tasks, points, examples, passes, described)
