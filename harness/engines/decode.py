"""The decoding loop of the embedded engine: prefill once, then one token for every unfinished row at a time.

Finished rows are dropped from the batch and from the key-value cache, so that a straggler does not keep a whole batch
busy. What prompts have in common is computed once: a beginning of all of them (`harness.engines.prefix`), and whole
prompts that several rows continue. A row's uniform random numbers are given by row and step from outside: what a row
samples does not depend on who shares its batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from harness.contracts import Sampling
from harness.engines.cache import growing_cache
from harness.engines.prefix import Prefix

_COMPACT_AT = 0.75  # drop finished rows once no more than this share of the batch is still needed


class Decoded(NamedTuple):
    """Token ids and their log-probabilities under the model (before temperature and top-p), one list a row."""

    token_ids: list[list[int]]
    logprobs: list[list[float]]


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    sampling: Sampling,
    uniform: torch.Tensor | None,
    end_ids: tuple[int, ...],
    kept: Callable[[torch.Tensor], None] | None = None,
    of: torch.Tensor | None = None,
    prefix: Prefix | None = None,
) -> Decoded:
    """Decode left-padded prompts `input_ids` [prompts, tokens], each in one row, or row r the prompt `of[r]`.

    `uniform` [rows, max_new_tokens] holds the numbers in [0, 1) that each row samples with; greedy needs none. `kept`
    is told which of its rows the batch keeps, whenever finished ones are dropped. `input_ids` are what follows
    `prefix`, where there is one.
    """
    rows = input_ids.shape[0] if of is None else len(of)
    device = input_ids.device
    ends = torch.tensor(end_ids, device=device)
    token_ids: list[list[int]] = [[] for _ in range(rows)]
    logprobs: list[list[float]] = [[] for _ in range(rows)]
    index = torch.arange(rows, device=device)  # the original row of every row in the batch
    active = torch.ones(rows, dtype=torch.bool, device=device)
    cache = growing_cache(model.config) if prefix is None else prefix.cache(*input_ids.shape)
    before = 0 if prefix is None else prefix.length
    lengths = before + attention_mask.sum(-1)
    position_ids = before + (attention_mask.cumsum(-1) - 1).clamp(min=0)
    attention_mask = torch.cat([attention_mask.new_ones(len(attention_mask), before), attention_mask], -1)
    step_ids = input_ids
    padded = bool((attention_mask == 0).any())
    for step in range(sampling.max_new_tokens):
        logits = (
            model(
                input_ids=step_ids,
                attention_mask=attention_mask if padded else None,
                position_ids=position_ids,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            .logits[:, -1]
            .float()
        )
        if step == 0 and of is not None:
            cache.batch_select_indices(of)
            logits, lengths, attention_mask = logits[of], lengths[of], attention_mask[of]
        tokens = choose(logits, sampling, None if uniform is None else uniform[:, step].to(device)[index])
        chosen = torch.log_softmax(logits, -1).gather(-1, tokens[:, None])[:, 0]
        for row, alive, token, logprob in zip(
            index.tolist(), active.tolist(), tokens.tolist(), chosen.tolist(), strict=True
        ):
            if alive:
                token_ids[row].append(token)
                logprobs[row].append(logprob)
        active &= ~torch.isin(tokens, ends)
        if step + 1 == sampling.max_new_tokens or not active.any():
            break
        attention_mask = torch.cat([attention_mask, attention_mask.new_ones(len(index), 1)], -1)
        position_ids = (lengths + step)[:, None]
        step_ids = tokens[:, None]
        if int(active.sum()) <= _COMPACT_AT * len(active):
            keep = active.nonzero()[:, 0]
            cache.batch_select_indices(keep)
            index, active, lengths = index[keep], active[keep], lengths[keep]
            attention_mask, position_ids, step_ids = attention_mask[keep], position_ids[keep], step_ids[keep]
            if kept is not None:
                kept(keep)
    return Decoded(token_ids, logprobs)


def choose(logits: torch.Tensor, sampling: Sampling, uniform: torch.Tensor | None) -> torch.Tensor:
    """The next token of every row: the most likely one, or the inverse of the cumulative distribution at `uniform`."""
    if sampling.temperature == 0.0:
        return logits.max(-1).indices  # the first of equals, as argmax takes it, in a third of its time
    if uniform is None:
        raise ValueError("sampling needs random numbers")
    probabilities = torch.softmax(logits / sampling.temperature, -1)
    if sampling.top_p < 1.0:
        ordered, order = probabilities.sort(-1, descending=True)
        ordered[ordered.cumsum(-1) - ordered >= sampling.top_p] = 0.0
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, ordered)
    cumulative = probabilities.cumsum(-1)
    point = uniform[:, None] * cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, point, right=True)[:, 0]
    return tokens.clamp(max=logits.shape[-1] - 1)
