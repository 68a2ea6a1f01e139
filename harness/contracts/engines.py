"""What an engine must offer: completions of prompts, and likelihoods of continuations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from harness.contracts.tasks import Likelihood, Prompt


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to decode. `temperature` 0 is greedy; `max_new_tokens` counts the end token."""

    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer: its text, its token ids (end token included if it came) and their log-probabilities."""

    text: str
    token_ids: list[int]
    logprobs: list[float]
    truncated: bool
    prompt_tokens: int = 0


@runtime_checkable
class Engine(Protocol):
    """Turns prompts into completions. The same seed and prompts give the same completions."""

    name: str

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, seed: int, places: Sequence[int] | None = None
    ) -> list[Completion]:
        """One completion a prompt, in order. What a prompt samples follows from the seed and its place; `places` are
        those of a part of the prompts."""
        ...

    def likelihoods(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Likelihood]: ...
