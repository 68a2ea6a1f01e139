"""Recipes of the lab's base models: architecture, corpus mixture, schedule and seed, each a frozen record.

A family is a module that follows `tasks.corpus.Family`, named by its import path, so that this file knows families
as data and imports none of them.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Recipe(BaseModel):
    """Everything that decides the weights of a lab model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    families: dict[str, float]
    """Module that offers `sample(rng)` -> its share of the passages."""
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    vocab_size: int
    window: int = 1024
    """Longest sequence in tokens (`max_position_embeddings`)."""
    tokens: int
    """Training tokens, padding not counted."""
    batch_tokens: int = 4096
    """Tokens in a batch, padding included."""
    learning_rate: float
    """Peak of a linear warm-up and a cosine decay to a tenth."""
    warmup_tokens: int = 500_000
    weight_decay: float = 0.1
    seed: int = 0


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="lab",
            families={
                "tasks.countdown.corpus": 0.60,
                "tasks.corpus.sudoku": 0.14,
                "tasks.corpus.words": 0.16,
                "tasks.corpus.filler": 0.10,
            },
            hidden_size=128,
            layers=4,
            heads=4,
            intermediate_size=384,
            vocab_size=1900,
            tokens=24_000_000,
            learning_rate=3e-3,
            seed=20261123,
        ),
    )
}
