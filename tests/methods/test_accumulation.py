"""The gradient of an update computed in micro-batches, against that of the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from harness.context import StageContext
from harness.micro_batches import MicroBatches, part_of, rows_of, split_rows
from tests.methods.test_loss_parity import disturb, trainer_of

Stages = Callable[..., StageContext]
EXACT = {
    "sft": {"batch_size": 12},
    "dpo": {"batch_size": 12},
    "ipo": {"batch_size": 12},
    "apo": {"batch_size": 12},
    "simpo": {"batch_size": 12},
    "grpo": {"group_size": 4, "prompts_per_step": 3, "beta": 0.0},
    "cpt": {"batch_size": 12, "length": 24},
    "distill-onpolicy": {"prompts_per_step": 12, "examples": 64},
    "dr-grpo": {"group_size": 4, "prompts_per_step": 3},
    "dapo": {"group_size": 4, "prompts_per_step": 3, "minibatches": 1},
    "gspo": {"group_size": 4, "prompts_per_step": 3, "minibatches": 1},
    "rloo": {"group_size": 4, "prompts_per_step": 3},
    "reinforce": {"samples": 4, "prompts_per_step": 3},
    "ppo": {"samples": 4, "prompts_per_step": 3},
    "reward-model": {"batch_size": 12},
    "process-reward-model": {"batch_size": 12},
}


def gradient(trainer: Any, batch: dict[str, Any], items: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What one update's loss and gradient are, by way of the trainer's own step."""
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=items)
    trainer.accelerator.backward(loss)
    return loss.detach(), torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])


@pytest.mark.parametrize("method", EXACT)
def test_micro_batches_add_up_to_the_whole_batch(method: str, make_stage: Stages) -> None:
    stage = make_stage(method, **EXACT[method])
    trainer = trainer_of(stage)
    trainer.current_gradient_accumulation_steps = 1  # what `train()` sets before its first step
    disturb(trainer.model)
    trainer.model.train()
    samples, items = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), 1, torch.device("cpu"))
    batch = trainer._prepare_inputs(samples[0])
    whole_loss, whole = gradient(trainer, batch, items)
    objective = stage_objective(stage)
    for parts in (1, 2, 5, 12):
        stage.accumulation = parts
        original = trainer.compute_loss
        MicroBatches(stage, trainer, getattr(objective, "split", None))
        loss, summed = gradient(trainer, batch, items)
        trainer.compute_loss = original
        assert stage.micro_batch == -(-12 // parts)
        torch.testing.assert_close(loss, whole_loss, rtol=1e-5, atol=1e-6)
        assert float((summed - whole).norm() / whole.norm()) < 1e-5, parts


def stage_objective(stage: StageContext) -> Any:
    from harness.registry import load_method

    spec = stage.run.spec
    return load_method(spec.method.name, **spec.method.parameters).stages[0].objective  # type: ignore[union-attr]


def test_parts_are_rows_of_everything_that_has_rows() -> None:
    batch = {"ids": torch.arange(10).reshape(5, 2), "label": list("abcde"), "scale": torch.tensor(3.0), "none": None}
    cut = split_rows(batch, 2)
    assert [part["label"] for part, _ in cut] == [list("abc"), list("de")]
    assert [share for _, share in cut] == [0.6, 0.4]
    assert all(part["scale"] is batch["scale"] and part["none"] is None for part, _ in cut)
    assert torch.equal(torch.cat([part["ids"] for part, _ in cut]), batch["ids"])


def test_pairs_stay_together() -> None:
    """Chosen rows first, then rejected ones; what has one entry a pair is cut by pairs."""
    batch = {"ids": torch.arange(6), "margin": torch.arange(3)}
    first, second = (part for part, _ in split_rows(batch, 2, blocks=2))
    assert first["ids"].tolist() == [0, 1, 3, 4] and first["margin"].tolist() == [0, 1]
    assert second["ids"].tolist() == [2, 5] and second["margin"].tolist() == [2]
    assert rows_of(part_of(batch, torch.tensor([1]), blocks=2)) == 2


def test_a_mean_over_tokens_weighs_parts_by_their_tokens() -> None:
    labels = torch.tensor([[-100, 1, 1, 1], [-100, -100, -100, 1]])
    assert [share for _, share in split_rows({"labels": labels}, 2)] == [0.75, 0.25]
    assert [share for _, share in split_rows({"labels": labels}, 2, items=torch.tensor(4))] == [1.0, 1.0]
