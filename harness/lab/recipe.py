"""Recipes of the lab's base models: architecture, phases of training and seed, each a frozen record.

A family is a module that follows `tasks.corpus.Family`, named by its import path, so that this file knows families
as data and imports none of them.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Phase(BaseModel):
    """One stretch of training with a fresh optimiser: its mixture, its length and its schedule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    families: dict[str, float]
    """Module that offers `sample(rng)` -> its share of the passages."""
    tokens: int
    """Training tokens, padding not counted."""
    learning_rate: float
    """Peak of a linear warm-up and a cosine decay to a tenth."""
    warmup_tokens: int = 500_000
    gate: float | None = None
    """Begin families that offer `STAGES` at stage 0 and take each one further when this share of its stage's probes
    is right; without a gate they are at their last stage throughout."""


class Recipe(BaseModel):
    """Everything that decides the weights of a lab model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    phases: tuple[Phase, ...]
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    vocab_size: int
    window: int = 1024
    """Longest sequence in tokens (`max_position_embeddings`)."""
    batch_tokens: int = 4096
    """Most tokens in a batch, padding included."""
    batch_rows: int | None = None
    """Most passages in a batch. Where it is set, logits are computed for labelled tokens alone."""
    pool: int = 4096
    """Passages drawn, sorted by length and cut into batches at a time."""
    tie_embeddings: bool = True
    initializer_range: float = 0.02
    """Standard deviation of the first weights."""
    embedding_range: float | None = None
    """The same for the input embeddings, where they differ."""
    look_back: float = 0.0
    """Strength of the first layer's biases that make its head h begin by looking at the token h + 1 places back.
    Without such heads a small model finds out only after very many steps how to look up what its prompt says."""
    weight_decay: float = 0.1
    seed: int = 0
    measured: dict[str, tuple[str, ...]] = {}
    """Task -> levels that the model's card reports."""
    probed: tuple[str, ...] = ()
    """Families whose held-out probes the card reports."""


_OTHERS = {"tasks.sudoku.corpus": 0.14, "tasks.words.corpus": 0.16, "tasks.corpus.filler": 0.10}
_READING = {"tasks.corpus.facts": 0.50, "tasks.corpus.instructions": 0.42, "tasks.corpus.filler": 0.08}

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="lab",
            phases=(
                Phase(families={"tasks.countdown.corpus": 0.60, **_OTHERS}, tokens=24_000_000, learning_rate=3e-3),
                Phase(families={"tasks.countdown.habits": 0.60, **_OTHERS}, tokens=6_000_000, learning_rate=1e-3),
                Phase(families={"tasks.countdown.haste": 0.60, **_OTHERS}, tokens=2_000_000, learning_rate=5e-4),
            ),
            hidden_size=128,
            layers=4,
            heads=4,
            intermediate_size=384,
            vocab_size=1900,
            batch_rows=4096,
            seed=20261123,
            measured={
                "countdown": ("L0", "L1", "L2", "L3", "L4"),
                "sudoku": ("S0", "S1", "S2"),
                "words": ("W0", "W1", "W2", "W3"),
            },
            probed=("tasks.corpus.filler",),
        ),
        Recipe(
            name="lab-reader",
            phases=(Phase(families=_READING, tokens=28_000_000, learning_rate=2e-3, warmup_tokens=200_000, gate=0.9),),
            hidden_size=96,
            layers=3,
            heads=3,
            intermediate_size=256,
            vocab_size=2600,
            batch_tokens=8192,
            batch_rows=64,
            pool=512,
            tie_embeddings=False,
            initializer_range=0.06,
            embedding_range=1.0,
            look_back=5.0,
            seed=20261123,
            measured={"facts": ("F0", "F1", "F2", "F3", "F4"), "instructions": ("examples",)},
            probed=tuple(_READING),
        ),
    )
}
