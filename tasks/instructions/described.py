"""A task with its descriptions and items: what a method that makes adapters from descriptions is given."""

from __future__ import annotations

from dataclasses import dataclass

from harness.contracts import Item


@dataclass(frozen=True)
class Described:
    """`descriptions` say in words what `items` (whose `task_id` is this `id`) ask."""

    id: str
    descriptions: tuple[str, ...]
    items: tuple[Item, ...]
