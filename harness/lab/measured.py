"""What a shipped model's card says of a task, without loading anything heavy."""

from __future__ import annotations

import json

from harness.models import WEIGHTS


def base_accuracy(model: str, task: str, level: str) -> float:
    """Greedy accuracy on val of a shipped model, from its card. Raises KeyError if the card does not have it."""
    card = json.loads((WEIGHTS / model / "card.json").read_text())
    for row in card["tasks"]:
        if (row["task"], row["level"]) == (task, level):
            return float(row["greedy"])
    raise KeyError(f"the card of {model} has no {task} {level}")
