"""Distillation from stored log-probabilities: the k likeliest tokens of a teacher at every place of an answer.

The loss at a place is the cross-entropy -sum_i p_i log q_i over the stored tokens, with q the student's distribution
over the whole vocabulary and p as the teacher gave it: the tail's mass is left out, nothing is made to sum to one
(Charakorn et al. 2026, arXiv 2602.15902, appendix). With k the whole vocabulary it is KL(p | q) plus p's entropy.
"""

from __future__ import annotations

import torch


def top_k(logits: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and log-probabilities [..., k] of the likeliest tokens, k at most the vocabulary."""
    values, ids = torch.log_softmax(logits.float(), -1).topk(min(k, logits.shape[-1]), -1)
    return ids, values


def cross_entropy(logits: torch.Tensor, ids: torch.Tensor, logprobs: torch.Tensor) -> torch.Tensor:
    """Cross-entropy [...] of student `logits` [..., vocabulary] against stored `ids` and `logprobs` [..., k]."""
    chosen = torch.log_softmax(logits.float(), -1).gather(-1, ids)
    return -(logprobs.exp() * chosen).sum(-1)


def mean_of_means(losses: torch.Tensor, query: torch.Tensor, document: torch.Tensor) -> torch.Tensor:
    """The mean over a query's tokens, then over a document's queries, then over documents.

    `losses` [tokens] with the `query` [tokens] that each belongs to; `document` [queries] says whose each query is.
    """
    return mean_by(mean_by(losses, query, len(document)), document, int(document.max()) + 1).mean()


def mean_by(values: torch.Tensor, group: torch.Tensor, groups: int) -> torch.Tensor:
    """The mean of the values of every group, [groups]."""
    total = values.new_zeros(groups).index_add(0, group, values)
    return total / torch.bincount(group, minlength=groups).clamp(min=1)
