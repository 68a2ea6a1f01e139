"""What TRL's trainers compute under our settings, against the papers' formulas written out here in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from harness.context import StageContext
from harness.registry import load_method

Stages = Callable[..., StageContext]


def trainer_of(stage: StageContext) -> Any:
    spec = stage.run.spec
    train = load_method(spec.method.name, **spec.method.parameters).stages[0]
    trainer = train.objective.trainer(stage, train.optimiser)  # type: ignore[attr-defined]
    trainer.create_optimizer_and_scheduler(10)
    return trainer


def log_probabilities(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """log pi(token t | tokens before t), [rows, tokens - 1]."""
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
    return F.log_softmax(logits, -1).gather(-1, ids[:, 1:, None])[..., 0]


def disturb(model: Any) -> None:
    """Move the policy away from its reference, so that no term of a loss vanishes."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.01)


def gradients(loss: torch.Tensor, model: Any) -> torch.Tensor:
    found = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])
    return torch.cat([g.flatten() for g in found])


def test_sft_is_the_mean_negative_log_likelihood_of_completion_tokens(make_stage: Stages) -> None:
    stage = make_stage("sft")
    trainer = trainer_of(stage)
    model = trainer.model.eval()
    batch = next(iter(trainer.get_train_dataloader()))
    loss = trainer.compute_loss(model, dict(batch))
    ids, labels = batch["input_ids"], batch["labels"]
    mask = batch.get("attention_mask", torch.ones_like(ids))
    wanted = labels[:, 1:] != -100
    expected = -log_probabilities(model, ids, mask)[wanted].mean()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    for row, label in zip(ids, labels, strict=True):
        prompt_and_answer = stage.policy.tokenizer.decode(row[label == -100], skip_special_tokens=True)
        assert prompt_and_answer.endswith(">") and "#" not in prompt_and_answer  # the prompt alone is left out
        assert row[label != -100][-1] == stage.policy.tokenizer.eos_token_id  # and the end is learnt


def test_dpo_is_log_sigmoid_of_the_scaled_margin(make_stage: Stages) -> None:
    stage = make_stage("dpo", prompts=64)
    trainer = trainer_of(stage)
    beta = stage.run.spec.method.parameters["beta"]
    reference = stage.reference()
    batch = next(iter(trainer.get_train_dataloader()))
    model = trainer.model.eval()
    at_start = trainer.compute_loss(model, dict(batch))
    assert float(at_start) == pytest.approx(0.693147, abs=1e-4)  # ln 2: the policy is its reference
    disturb(model)
    loss = trainer.compute_loss(model, dict(batch))
    ids, mask, completion = batch["input_ids"], batch["attention_mask"], batch["completion_mask"][:, 1:]
    with torch.no_grad():
        of_reference = (log_probabilities(reference, ids, mask) * completion).sum(-1)
    of_policy = (log_probabilities(model, ids, mask) * completion).sum(-1)
    chosen, rejected = (of_policy - of_reference).chunk(2)
    expected = -F.logsigmoid(beta * (chosen - rejected)).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)
    ours, theirs = gradients(expected, model), gradients(loss, model)
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-5 * float(ours.abs().max()))


def test_grpo_is_the_group_relative_policy_gradient(make_stage: Stages) -> None:
    """Advantages from the graded completions; the gradient of minus the mean over completions of the token mean."""
    stage = make_stage("grpo", group_size=8, prompts_per_step=8)
    trainer = trainer_of(stage)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1  # what `train()` sets before its first step
    batch = next(iter(trainer.get_train_dataloader()))
    inputs = trainer._prepare_inputs(batch)
    tokenizer, task = stage.policy.tokenizer, stage.task
    items = {str(task.prompt(item)): item for item in stage.train_items(32)}
    prompts = [
        tokenizer.decode(ids[mask.bool()])
        for ids, mask in zip(inputs["prompt_ids"], inputs["prompt_mask"], strict=True)
    ]
    answers = [
        tokenizer.decode(ids[mask.bool()], skip_special_tokens=True)
        for ids, mask in zip(inputs["completion_ids"], inputs["completion_mask"], strict=True)
    ]
    rewards = torch.tensor([task.grade(items[p], a).reward for p, a in zip(prompts, answers, strict=True)])
    assert len(set(rewards.tolist())) > 1, "every reward is the same: this test would prove nothing"
    advantages = torch.zeros_like(rewards)
    for prompt in set(prompts):
        group = torch.tensor([p == prompt for p in prompts])
        assert int(group.sum()) == 8
        advantages[group] = (rewards[group] - rewards[group].mean()) / (rewards[group].std() + 1e-4)
    torch.testing.assert_close(inputs["advantages"].flatten(), advantages, rtol=1e-4, atol=1e-4)
    model = trainer.model
    loss = trainer.compute_loss(model, inputs)
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    width = inputs["completion_ids"].shape[1]
    log_pi = log_probabilities(model, ids, mask)[:, -width:]
    kept = inputs["completion_mask"]
    surrogate = -((log_pi * advantages[:, None] * kept).sum(-1) / kept.sum(-1)).mean()
    ours, theirs = gradients(surrogate, model), gradients(loss, model)
    assert float(ours.abs().max()) > 0
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-4 * float(ours.abs().max()))
