"""An engine whose prompts are dealt out to all processes of a run, each of which has everybody's answers afterwards.

Answers are those of the engine alone, up to floating-point summation order: a prompt samples by its place among all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.contracts import Completion, Engine, Likelihood, Prompt, Sampling
from harness.ranks import Ranks

if TYPE_CHECKING:
    from harness.engines.adapted import AdaptedEngine
    from harness.engines.vllm_adapted import VLLMAdapted


class DealtEngine:
    """The engine of one policy, over the processes of a run."""

    def __init__(self, engine: Engine, ranks: Ranks) -> None:
        self.name = engine.name
        self._engine, self._ranks = engine, ranks

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, seed: int, places: Sequence[int] | None = None
    ) -> list[Completion]:
        """One completion a prompt, in order."""
        where = range(len(prompts)) if places is None else places
        return self._ranks.deal(
            len(prompts),
            lambda mine: self._engine.generate([prompts[i] for i in mine], sampling, seed, [where[i] for i in mine]),
        )

    def likelihoods(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Likelihood]:
        """How likely each continuation is after its context, in order."""
        return self._ranks.deal(len(pairs), lambda mine: self._engine.likelihoods([pairs[i] for i in mine]))


class DealtAdapted:
    """The engine of a generator, over the processes of a run."""

    def __init__(self, engine: AdaptedEngine | VLLMAdapted, ranks: Ranks) -> None:
        self._engine, self._ranks = engine, ranks

    def generate(
        self, prompts: Sequence[Prompt], texts: Sequence[str], sampling: Sampling, seed: int
    ) -> list[Completion]:
        """One completion a prompt, in order, under the adapter of the text at the same place."""
        return self._ranks.deal(
            len(prompts),
            lambda mine: self._engine.generate(
                [prompts[i] for i in mine], [texts[i] for i in mine], sampling, seed, mine
            ),
        )
