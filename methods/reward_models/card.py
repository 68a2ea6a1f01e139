"""The folder of a reward model and the card in it: what kind it is, what it was trained on, how its scores are scaled.

A run of `reward-model` or `process-reward-model` leaves the folder `reward_model` in its directory: weights as
safetensors that transformers' Auto classes load, the tokenizer, and `reward_model.json`, the card. No torch in here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from harness.errors import UserError
from harness.spec import Frozen

FOLDER, CARD = "reward_model", "reward_model.json"
Kind = Literal["reward-model", "process-reward-model"]
Aggregate = Literal["min", "product", "mean", "last"]


class Card(Frozen):
    """What a reward model is."""

    kind: Kind
    task: str
    task_version: int
    model: str
    """The start model whose backbone it has."""
    revision: str
    mean: float
    std: float
    """Of its scores of the start policy's completions; a reward is (score - mean) / std."""
    pairs: int
    """Pairs of held-out prompts on which it was measured."""
    pair_accuracy: float | None
    """How often it scores the right completion of a held-out pair above the wrong one; None without a pair."""
    delimiter: str | None = None
    """What ends a step (process reward models)."""
    aggregate: Aggregate | None = None
    """How the scores of steps become one (process reward models)."""


def folder_of(place: str | None) -> str | None:
    """The reward model's own folder, absolute, whether that or the directory of its run was given."""
    if place is None:
        return None
    path = Path(place).expanduser().resolve()
    return str(path / FOLDER if (path / FOLDER / CARD).is_file() else path)


def read_card(folder: str | Path) -> Card:
    """The card of a reward model; UserError if there is none."""
    file = Path(folder) / CARD
    if not file.is_file():
        raise UserError(
            f"There is no reward model in {folder}: give the directory of a finished run of reward-model or "
            "process-reward-model."
        )
    try:
        return Card.model_validate_json(file.read_text())
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "its content"
        raise UserError(f"{file} is no card of a reward model ({where}): train one with this version.") from None
