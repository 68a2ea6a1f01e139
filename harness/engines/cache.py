"""A key-value cache with room to grow: a decoded token is written into its place instead of copying all before it.

Rows can leave and new ones join: keys lie flush right, so that every row's next token takes the same place whatever
its length; what lies left of a row's beginning is masked out. Layers that do not attend to everything (sliding
windows, linear attention) stay transformers' own, and `grows` is then False.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM = 32  # places to begin with; half as many again whenever they are used up


class GrowingLayer(DynamicLayer):
    """Keys and values [rows, heads, tokens, size] as views of larger buffers."""

    keys: torch.Tensor
    values: torch.Tensor
    _buffers: tuple[torch.Tensor, torch.Tensor]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append along the tokens; returns all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.hold(key_states, value_states)
            return self.keys, self.values
        length, added = self.keys.shape[-2], key_states.shape[-2]
        if length + added > self._buffers[0].shape[-2]:
            self.hold(self.keys, self.values, max(added, length // 2))
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, length : length + added] = states
        self.keys, self.values = (buffer[:, :, : length + added] for buffer in self._buffers)
        return self.keys, self.values

    def hold(self, keys: torch.Tensor, values: torch.Tensor, room: int = _ROOM) -> None:
        """Take over keys and values, with `room` for more tokens."""
        length = keys.shape[-2]
        self._buffers = tuple(
            states.new_empty(*states.shape[:-2], length + max(room, _ROOM), states.shape[-1])
            for states in (keys, values)
        )
        for buffer, states in zip(self._buffers, (keys, values), strict=True):
            buffer[:, :, :length] = states
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows."""
        if self.get_seq_length() > 0:
            self.hold(self.keys[indices], self.values[indices])

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Rows in another order."""
        self.batch_select_indices(beam_idx)


def growing_cache(config: Any) -> DynamicCache:
    """An empty cache for a model of this configuration."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def grows(cache: DynamicCache) -> bool:
    """Whether rows of other lengths can join."""
    return all(isinstance(layer, GrowingLayer) for layer in cache.layers)


def join(cache: DynamicCache, keep: torch.Tensor, unused: int, new: DynamicCache, order: torch.Tensor) -> None:
    """Keep rows `keep` without their first `unused` places, add the rows of `new`, put all into `order`."""
    for mine, theirs in zip(cache.layers, new.layers, strict=True):
        joined = [
            _flush_right(old[:, :, unused:], keep, fresh, order)
            for old, fresh in ((mine.keys, theirs.keys), (mine.values, theirs.values))
        ]
        mine.hold(joined[0], joined[1])


def join_masks(mask: torch.Tensor, keep: torch.Tensor, unused: int, new: torch.Tensor, order: torch.Tensor) -> Any:
    """The attention mask [rows, tokens] of what `join` makes."""
    joined = _flush_right(mask[:, None, unused:, None], keep, new[:, None, :, None], order)
    return joined[:, 0, :, 0].contiguous()


def _flush_right(old: torch.Tensor, keep: torch.Tensor, new: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    width = max(old.shape[-2], new.shape[-2])
    out = old.new_zeros(len(order), *old.shape[1:-2], width, old.shape[-1])
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    out[place[: len(keep)], :, width - old.shape[-2] :] = old[keep]
    out[place[len(keep) :], :, width - new.shape[-2] :] = new
    return out
