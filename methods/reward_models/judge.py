"""A trained reward model at work: scores of completions, scaled by its card, every token charged.

An outcome model gives its logit at the end of the completion; a process model gives the chance of success at the end
of every step, joined as its card says (the minimum in Wang et al. 2024, Math-Shepherd, arXiv 2312.08935, section 3.4).
A reward is (score - mean) / std over the start policy's completions, so that any RL method meets the same scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harness.contracts import Completion, Prompt
from methods.reward_models.card import Aggregate, Card, read_card
from methods.reward_models.text import Read, read_as, steps_of

if TYPE_CHECKING:
    from harness.context import StageContext

_ROWS = 64


class Judge:
    """A reward model from its folder."""

    def __init__(self, stage: StageContext, folder: Path) -> None:
        from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

        self.stage = stage
        self.card: Card = read_card(folder)
        outcome = self.card.kind == "reward-model"
        load = AutoModelForSequenceClassification if outcome else AutoModelForTokenClassification
        model = load.from_pretrained(folder, dtype=stage.policy.model.dtype, trust_remote_code=False)
        self.model = model.to(stage.policy.model.device).eval().requires_grad_(False)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.parameters = sum(tensor.numel() for tensor in self.model.parameters())

    def rewards(self, prompts: Sequence[Prompt], answers: Sequence[Completion]) -> list[float]:
        """One scaled score a completion."""
        reads = [
            read_as(self.tokenizer, prompt, steps_of(answer.text, self.card.delimiter), answer.truncated)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        self.stage.run.meters.count(flops=2.0 * self.parameters * sum(len(read.ids) for read in reads))
        scores = scores_of(self.model, reads, self.tokenizer.pad_token_id, self.card.aggregate)
        return [(score - self.card.mean) / self.card.std for score in scores]


@torch.no_grad()
def scores_of(model: Any, reads: list[Read], pad: int, aggregate: Aggregate | None) -> list[float]:
    """Unscaled scores: logits of an outcome model (`aggregate` None), or a process model's joined step scores."""
    training = model.training
    model.eval()
    found: dict[int, float] = {}
    order = sorted(range(len(reads)), key=lambda row: (len(reads[row].ids), row))
    for start in range(0, len(order), _ROWS):
        chosen = order[start : start + _ROWS]
        ids, mask = padded_right([reads[row].ids for row in chosen], pad, model.device)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
        for place, row in enumerate(chosen):
            if aggregate is None:
                found[row] = float(logits[place, 0])
            else:
                found[row] = joined(logits[place, reads[row].ends, 0].sigmoid(), aggregate)
    model.train(training)
    return [found[row] for row in range(len(reads))]


def joined(chances: torch.Tensor, aggregate: Aggregate) -> float:
    """One score of a completion's steps [steps], each between 0 and 1."""
    ways = {"min": chances.min, "product": chances.prod, "mean": chances.mean, "last": lambda: chances[-1]}
    return float(ways[aggregate]())


def padded_right(rows: list[list[int]], pad: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, [rows, tokens]."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    return ids, mask
