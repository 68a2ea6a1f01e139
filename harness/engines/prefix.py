"""The beginning that all prompts of a call have in common, computed once: an instruction, worked examples, a template.

Its keys and values are those of one row; every batch begins with a copy of them for each of its prompts and computes
what differs. Exact up to floating-point summation order, since a token attends only to what stands before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from harness.engines.cache import GrowingLayer, growing_cache, grows

_LEAST = 16  # tokens; a shorter beginning saves less than the pass of its own costs


class Prefix:
    """A computed beginning of `length` tokens."""

    def __init__(self, model: Any, tokens: Sequence[int]) -> None:
        self.length = len(tokens)
        self._config = model.config
        self._one = growing_cache(model.config)
        ids = torch.tensor([list(tokens)], device=model.device)
        with torch.inference_mode():
            model(input_ids=ids, past_key_values=self._one, use_cache=True, logits_to_keep=1)

    def cache(self, rows: int, room: int) -> DynamicCache:
        """A cache of `rows` rows that all begin with it, with room for `room` tokens more before it has to grow."""
        cache = growing_cache(self._config)
        for layer, one in zip(cache.layers, self._one.layers, strict=True):
            assert isinstance(layer, GrowingLayer) and isinstance(one, GrowingLayer)
            keys, values = (states.expand(rows, -1, -1, -1) for states in (one.keys, one.values))
            layer.lazy_initialization(keys, values)
            layer.hold(keys, values, 2 * room)
        return cache


def shared_prefix(model: Any, prompts: Sequence[Sequence[int]]) -> Prefix | None:
    """The longest beginning of all `prompts` that leaves each of them a token; None where it is not worth a pass.

    None too where the model has tokens of its own ahead of a prompt, or layers that do not keep all that was read.
    """
    length = common_length(prompts)
    adapter = getattr(model, "active_peft_config", None)
    virtual = adapter is not None and adapter.is_prompt_learning
    if length < _LEAST or len(prompts) < 2 or virtual or not grows(growing_cache(model.config)):
        return None
    return Prefix(model, prompts[0][:length])


def common_length(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that all prompts begin with, one fewer than the shortest has at most."""
    every = [list(prompt) for prompt in prompts]
    first, last = min(every), max(every)  # the two that differ earliest, in the order of lists
    most = min(map(len, prompts)) - 1
    return next((place for place in range(most) if first[place] != last[place]), max(most, 0))
