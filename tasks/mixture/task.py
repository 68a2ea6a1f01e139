"""A weighted mixture of other tasks as one task, scored per part: joint training, and what one part costs another.

Items of the parts follow one another so that at every point each part has had its weight's share (the smooth weighted
round robin), which makes the first n items of a mixture the same mixture for every n. Accuracy is the mean over all
answers; `measures` hold each part's own under its label. Parts keep their prompts, graders and rewards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from harness.contracts import Grade, Item, LikelihoodTask, Offer, Prompt, Task
from harness.errors import UserError
from harness.registry import find_task, task
from tasks.pool import content_id

Parts = tuple[dict[str, Any], ...]
_DEFAULT: Parts = ({"name": "countdown", "level": "L2"}, {"name": "countdown", "level": "L1"})


@task("mixture", version=1)
class Mixture:
    """Several tasks at once, in given shares: parts=[{name: countdown, level: L2, weight: 2}, {name: words}]."""

    name: str
    version: int

    def __init__(
        self,
        parts: Annotated[Parts, "tasks with their parameters, each with a weight (1) and a label under as"] = _DEFAULT,
    ) -> None:
        if len(parts) < 2:
            raise UserError("A mixture needs two parts or more, for example parts=[{name: countdown}, {name: words}].")
        self.labels = [_label(part) for part in parts]
        double = next((label for label in self.labels if self.labels.count(label) > 1), None)
        if double is not None:
            raise UserError(f"Two parts of the mixture are called {double!r}: give one another label, as: LABEL.")
        self.weights = [_weight(part) for part in parts]
        self.parts: list[Task] = [find_task(_name(part)).create(**_parameters(part)) for part in parts]
        unfit = next((one.name for one in self.parts if isinstance(one, LikelihoodTask)), None)
        if unfit is not None:
            raise UserError(f"{unfit!r} is scored by likelihoods, so it cannot be part of a mixture.")
        common = frozenset.intersection(*(one.offers for one in self.parts))
        self.offers: frozenset[Offer] = common - {"documents", "descriptions"}  # parts word and cut theirs differently
        self.max_new_tokens = max(one.max_new_tokens for one in self.parts)
        stops = {one.stop for one in self.parts}
        self.stop = stops.pop() if len(stops) == 1 else None

    @classmethod
    def digests(cls, parts: Parts) -> dict[str, str]:
        """What stands for the parts in a run's identity: their versions, all their parameters and their data."""
        resolved = [
            [_label(part), _weight(part), find_task(_name(part)).resolve(_parameters(part)).content()] for part in parts
        ]
        return {"parts": hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()}

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first `n` items; without `n`, and in training, at most those before the first part runs out."""
        if n is None:
            available = [len(part.items(split, None)) for part in self.parts]
            order = self._order(sum(available), available)
        else:
            order = self._order(n, None)
        found = [part.items(split, order.count(place)) for place, part in enumerate(self.parts)]
        sources = [iter(items) for items in found]
        items = []
        for place in order:
            inner = next(sources[place], None)
            if inner is None and split not in ("val", "test"):
                break
            if inner is None:
                raise UserError(f"The part {self.labels[place]!r} has too few {split} items for {n}: ask for fewer.")
            items.append(self._item(place, inner))
        return items

    def prompt(self, item: Item) -> Prompt:
        """The part's own prompt."""
        part, inner = self._of(item)
        return part.prompt(inner)

    def grade(self, item: Item, completion: str) -> Grade:
        """The part's own grade, with its correctness under the part's label."""
        part, inner = self._of(item)
        text = completion.split(part.stop)[0] if part.stop is not None and self.stop is None else completion
        grade = part.grade(inner, text)
        label = self.labels[item.data["part"]]
        measures = {label: float(grade.correct)} | {f"{label} {key}": value for key, value in grade.measures.items()}
        return Grade(grade.correct, grade.reward, grade.well_formed, grade.reason, grade.parsed, measures)

    def demonstration(self, item: Item) -> str:
        """The part's own demonstration."""
        part, inner = self._of(item)
        return part.demonstration(inner)

    def _order(self, n: int, available: list[int] | None) -> list[int]:
        """Which part each of the first `n` items is from; ends where a part would run out of `available` ones."""
        credit, total, order = [0.0] * len(self.weights), sum(self.weights), []
        taken = [0] * len(self.weights)
        for _ in range(n):
            credit = [have + weight for have, weight in zip(credit, self.weights, strict=True)]
            place = max(range(len(credit)), key=lambda index: (credit[index], -index))
            if available is not None and taken[place] == available[place]:
                break
            credit[place] -= total
            taken[place] += 1
            order.append(place)
        return order

    def _item(self, place: int, inner: Item) -> Item:
        identity = content_id("mixture", self.labels[place], inner.id)
        return Item(identity, inner.split, {"part": place, "id": inner.id, "data": inner.data})

    def _of(self, item: Item) -> tuple[Task, Item]:
        return self.parts[item.data["part"]], Item(item.data["id"], item.split, item.data["data"])


def _name(part: Mapping[str, Any]) -> str:
    if not isinstance(part.get("name"), str):
        raise UserError(f"A part of a mixture is {{name: TASK, parameter: value, weight: 1, as: LABEL}}, not {part!r}.")
    if part["name"] == "mixture":
        raise UserError("A mixture cannot be part of a mixture: list its parts instead.")
    return str(part["name"])


def _label(part: Mapping[str, Any]) -> str:
    if "as" in part:
        return str(part["as"])
    return f"{_name(part)} {part['level']}" if "level" in part else _name(part)


def _weight(part: Mapping[str, Any]) -> float:
    weight = part.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < float("inf"):
        raise UserError(f"The weight of {_label(part)!r} is {weight!r}, not a number above 0.")
    return float(weight)


def _parameters(part: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key not in ("name", "weight", "as")}
