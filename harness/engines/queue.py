"""Every member's answer to every prompt from one queue of rows: who has finished makes room for who waits.

A member holds the same number of rows of the batch; a finished row is dropped and the member's next prompt takes its
place (continuous batching), one prefill for several at a time. Rows stay sorted by member, so that the products of the
side paths stay whole grids while prompts are left. Sampling is by numbers given by prompt and step from outside: an
answer does not depend on who shares the batch, up to floating-point summation order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from harness.contracts import Sampling
from harness.engines.cache import growing_cache, grows, join, join_masks
from harness.engines.decode import choose
from harness.engines.layout import Layout

_DROP_AT = 0.75  # drop finished rows once no more than this share of the batch is needed and nobody waits
_REFILL_AT = 0.125  # prefill when this share of the batch has finished


@dataclass
class Answers:
    """Token ids [members, prompts, max_new_tokens], how many of them count, and their log-probabilities."""

    token_ids: torch.Tensor
    lengths: torch.Tensor
    logprobs: torch.Tensor | None


@dataclass
class _Rows:
    """What is known of each row of the batch."""

    member: torch.Tensor
    prompt: torch.Tensor
    length: torch.Tensor
    """Tokens of the prompt."""
    done: torch.Tensor
    """Tokens generated so far."""
    alive: torch.Tensor

    def at(self, index: torch.Tensor) -> _Rows:
        return _Rows(*(field[index] for field in vars(self).values()))

    def and_(self, other: _Rows) -> _Rows:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return _Rows(*(torch.cat(pair) for pair in pairs))


def refills(model: Any) -> bool:
    """Whether a row's place in the cache of `model` can go to another: full attention, and no virtual tokens ahead."""
    adapter = getattr(model, "active_peft_config", None)
    if not hasattr(model, "config") or (adapter is not None and adapter.is_prompt_learning):
        return False
    return grows(growing_cache(model.config))


class Queue:
    """One generation of a population: `run()` returns its answers."""

    def __init__(
        self,
        model: Any,
        prompts: list[list[int]],
        sampling: Sampling,
        ends: tuple[int, ...],
        pad: int,
        layout: Layout,
        rows: int,
        uniform: torch.Tensor | None,
        want_logprobs: bool,
    ) -> None:
        self.model, self.prompts, self.sampling, self.pad, self.layout = model, prompts, sampling, pad, layout
        self.device, self.count = layout.device, layout.count
        self.ends = torch.tensor(ends, device=self.device)
        self.uniform = None if uniform is None else uniform.to(self.device)
        self.order = sorted(range(len(prompts)), key=lambda place: (len(prompts[place]), place))
        self.waiting = [0] * self.count
        """Prompts that each member has begun."""
        self.cache = growing_cache(model.config)
        self.share = min(len(prompts), max(1, rows // self.count)) if refills(model) else len(prompts)
        size = (self.count, len(prompts), sampling.max_new_tokens)
        self.token_ids = torch.zeros(size, dtype=torch.long, device=self.device)
        self.logprobs = torch.zeros(size, device=self.device) if want_logprobs else None
        self.lengths = torch.zeros(size[:2], dtype=torch.long, device=self.device)

    @torch.inference_mode()
    def run(self) -> Answers:
        """Decode until every member has answered every prompt."""
        rows, self.mask, logits = self._prefill([self.share] * self.count, self.cache)
        tokens = self._record(rows, logits)
        self.layout.arrange(rows.member)
        while True:
            alive = int(rows.alive.sum())
            finished = len(rows.alive) - alive
            waits = len(self.prompts) * self.count - sum(self.waiting)
            worth = waits and finished >= _REFILL_AT * len(rows.alive)
            room: list[int] = self._room(rows) if worth else []
            free = sum(room)
            if free >= _REFILL_AT * len(rows.alive) or (free and not alive):
                rows, tokens = self._refill(rows, tokens, room)
            elif not alive:
                return Answers(self.token_ids, self.lengths, self.logprobs)
            elif alive <= _DROP_AT * len(rows.alive):
                keep = rows.alive.nonzero()[:, 0]
                self.cache.batch_select_indices(keep)
                rows, tokens, self.mask = rows.at(keep), tokens[keep], self.mask[keep]
                self.layout.arrange(rows.member)
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], 1)
            positions = (rows.length + rows.done - 1)[:, None]
            tokens = self._record(rows, self._logits(tokens[:, None], self.mask, positions, self.cache))

    def _room(self, rows: _Rows) -> list[int]:
        """How many prompts of each member can be begun: it has prompts left, and rows that are done."""
        held = torch.bincount(rows.member[rows.alive], minlength=self.count).tolist()
        return [
            min(self.share - used, len(self.prompts) - begun) for used, begun in zip(held, self.waiting, strict=True)
        ]

    def _refill(self, rows: _Rows, tokens: torch.Tensor, room: list[int]) -> tuple[_Rows, torch.Tensor]:
        keep = rows.alive.nonzero()[:, 0]
        cache = growing_cache(self.model.config)
        new, mask, logits = self._prefill(room, cache)
        first = self._record(new, logits)
        order = torch.cat([rows.member[keep], new.member]).argsort(stable=True)
        kept_mask = self.mask[keep]
        begins = int(kept_mask.any(0).to(torch.uint8).argmax()) if len(keep) else self.mask.shape[1]
        join(self.cache, keep, begins, cache, order)
        self.mask = join_masks(self.mask, keep, begins, mask, order)
        rows = rows.at(keep).and_(new).at(order)
        self.layout.arrange(rows.member)
        return rows, torch.cat([tokens[keep], first])[order]

    def _prefill(self, room: list[int], cache: Any) -> tuple[_Rows, torch.Tensor, torch.Tensor]:
        """Begin the next `room[member]` prompts of every member: rows, their mask and the logits of the first token."""
        chosen = [
            (member, self.order[place])
            for member, places in enumerate(room)
            for place in range(self.waiting[member], self.waiting[member] + places)
        ]
        self.waiting = [begun + places for begun, places in zip(self.waiting, room, strict=True)]
        ids = [self.prompts[place] for _, place in chosen]
        width = max(map(len, ids))
        index = torch.tensor(chosen, device=self.device)
        length = torch.tensor([len(row) for row in ids], device=self.device)
        inputs = torch.tensor([[self.pad] * (width - len(row)) + row for row in ids], device=self.device)
        mask = (torch.arange(width, device=self.device) >= width - length[:, None]).long()
        rows = _Rows(
            index[:, 0], index[:, 1], length, torch.zeros_like(length), torch.ones_like(length, dtype=torch.bool)
        )
        self.layout.arrange(rows.member)
        return rows, mask, self._logits(inputs, mask, (mask.cumsum(-1) - 1).clamp(min=0), cache)

    def _logits(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any) -> torch.Tensor:
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = out.logits[:, -1]
        return logits.float()

    def _record(self, rows: _Rows, logits: torch.Tensor) -> torch.Tensor:
        """The next token of every row, written down for the rows that are alive."""
        place = rows.done.clamp(max=self.sampling.max_new_tokens - 1)
        uniform = None if self.uniform is None else self.uniform[rows.prompt, place]
        tokens = choose(logits, self.sampling, uniform)
        at = (rows.member[rows.alive], rows.prompt[rows.alive], rows.done[rows.alive])
        self.token_ids[at] = tokens[rows.alive]
        if self.logprobs is not None:
            chosen = torch.log_softmax(logits, -1).gather(-1, tokens[:, None])[:, 0]
            self.logprobs[at] = chosen[rows.alive]
        rows.done += rows.alive
        ended = torch.isin(tokens, self.ends) | (rows.done >= self.sampling.max_new_tokens)
        self.lengths[rows.member[rows.alive], rows.prompt[rows.alive]] = rows.done[rows.alive]
        rows.alive &= ~ended
        return tokens
