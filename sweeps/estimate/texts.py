"""How long a task's texts are for a model: prompts and demonstrations, tokenised; answers, as like runs wrote them.

Where nobody has answered yet, an answer counts as long as a demonstration, and without demonstrations as long as it may
be: which of them it was is said beside the estimate.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.models import ModelHandle

_ITEMS = 64  # the mean length of so many is within a few percent


@dataclass(frozen=True)
class Texts:
    """Mean lengths in tokens."""

    prompt: float
    completion: float
    demonstration: float | None
    longest: int
    """Tokens that a completion may have."""
    source: str
    """Where `completion` is from."""
    supply: Callable[[int], int]
    """How many training items there are, of so many that are asked for."""

    def shorter(self, longest: int) -> Texts:
        """The same under a lower limit on completions."""
        return replace(self, longest=longest, completion=min(self.completion, float(longest)))


def texts_of(task: Any, handle: ModelHandle, limit: int | None, written: Sequence[float]) -> Texts:
    """The lengths of `task`'s texts; `written` are mean answer lengths of runs of this model on it."""
    tokenizer, tokens = handle.tokenizer(), tokens_of(handle)
    items = task.items("train", _ITEMS)
    prompt = statistics.fmean(tokens(task.prompt(item)) for item in items)
    shown = None
    if "demonstrations" in task.offers:
        gold = [tokenizer(task.demonstration(item), add_special_tokens=False).input_ids for item in items]
        shown = statistics.fmean(len(one) + 1 for one in gold)
    longest = limit or task.max_new_tokens
    completion, source = float(longest), "the longest allowed"
    if written:
        completion, source = statistics.median(written), "answers of earlier runs"
    elif shown is not None:
        completion, source = min(shown, completion), "demonstrations"
    return Texts(prompt, completion, shown, longest, source, lambda most: len(task.items("train", most)))


def tokens_of(handle: ModelHandle) -> Callable[[Any], int]:
    """Counts the tokens of a prompt or a text as the model reads it."""
    from harness.engines.hf import encode

    tokenizer = handle.tokenizer()
    tokenizer.model_max_length = 10**12  # to count a text is no reason to warn that it is long
    return lambda prompt: len(encode(tokenizer, prompt))


def window_of(handle: ModelHandle) -> int:
    """Positions that the model has."""
    configuration = handle.configuration()
    return int(configuration.get("text_config", configuration)["max_position_embeddings"])
