"""A transformers Trainer for step labels: cross-entropy of a chance at the last token of each step, mean over steps.

Rows are `ids`, the places `ends` of the steps' last tokens, and `step_labels` between 0 and 1. (TRL 1.16 has none.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from transformers import Trainer

from methods.reward_models.judge import padded_right

Row = dict[str, Any]


class StepTrainer(Trainer):
    """Trains a token classifier with one output."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[..., 0]
        known = ~inputs["step_labels"].isnan()
        errors = F.binary_cross_entropy_with_logits(
            logits[known].float(), inputs["step_labels"][known], reduction="sum"
        )
        return errors / inputs["steps"]


def collated(pad: int) -> Callable[[list[Row]], dict[str, torch.Tensor]]:
    """Rows as `input_ids`, `attention_mask`, `step_labels` [rows, tokens] (NaN where no step ends), and all `steps`."""

    def collate(rows: list[Row]) -> dict[str, torch.Tensor]:
        ids, mask = padded_right([row["ids"] for row in rows], pad, "cpu")
        labels = torch.full(ids.shape, float("nan"))
        for place, row in enumerate(rows):
            labels[place, row["ends"]] = torch.tensor(row["step_labels"], dtype=torch.float32)
        return {"input_ids": ids, "attention_mask": mask, "step_labels": labels, "steps": (~labels.isnan()).sum()}

    return collate


@torch.no_grad()
def step_error(model: Any, rows: list[Row], pad: int) -> float:
    """The mean distance between the chance of a step and its label."""
    training = model.training
    model.eval()
    errors = []
    for start in range(0, len(rows), 64):
        batch = collated(pad)(rows[start : start + 64])
        batch = {name: value.to(model.device) for name, value in batch.items()}
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[..., 0]
        known = ~batch["step_labels"].isnan()
        errors.append((logits.float().sigmoid() - batch["step_labels"])[known].abs().cpu())
    model.train(training)
    return float(torch.cat(errors).mean())
