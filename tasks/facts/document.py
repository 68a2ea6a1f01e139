"""A document with all its questions: what a method that reads documents outside the prompt is given."""

from __future__ import annotations

from dataclasses import dataclass

from harness.contracts import Item


@dataclass(frozen=True)
class Document:
    """`text`, and an item for every question about it; an item's `document_id` is this `id`."""

    id: str
    text: str
    items: tuple[Item, ...]
