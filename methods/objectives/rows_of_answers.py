"""Prompts with given answers as one batch: prompts padded on the left, answers on the right, so that answers align.

Positions and mask leave the padding out, and only the answers' columns get logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class AnswerRows:
    """`ids` and `mask` [rows, tokens]; a row's answer has `lengths[row]` tokens of the last `width` columns."""

    ids: torch.Tensor
    mask: torch.Tensor
    lengths: list[int]
    width: int

    def logits(self, model: Any) -> torch.Tensor:
        """What `model` predicts at every token of every answer, [sum of lengths, vocabulary], row after row."""
        positions = (self.mask.cumsum(-1) - 1).clamp(min=0)
        out = model(
            input_ids=self.ids, attention_mask=self.mask, position_ids=positions, use_cache=False,
            logits_to_keep=self.width,
        ).logits  # fmt: skip
        return torch.cat([row[:length] for row, length in zip(out, self.lengths, strict=True)])


def answer_rows(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], device: Any) -> AnswerRows:
    """The batch; the last token of an answer is predicted and not read."""
    before, width = max(map(len, prompts)), max(map(len, answers))
    ids, mask = [], []
    for prompt, answer in zip(prompts, answers, strict=True):
        left, right = before - len(prompt), width - len(answer)
        ids.append([*([0] * left), *prompt, *answer[:-1], *([0] * right)])
        mask.append([*([0] * left), *([1] * (len(prompt) + len(answer) - 1)), *([0] * right)])
    lengths = [len(answer) for answer in answers]
    return AnswerRows(torch.tensor(ids, device=device), torch.tensor(mask, device=device), lengths, width)
