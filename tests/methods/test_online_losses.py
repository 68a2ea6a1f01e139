"""The losses of the online methods on fixed tensors, to 1e-5 of their papers' formulas written out in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from harness.context import StageContext
from methods.online.trainer import Totals
from tests.methods.test_loss_parity import disturb
from tests.methods.test_loss_tensors import (
    ANSWERS,
    answer_log_probabilities,
    grpo_batch,
    same,
    same_gradients,
    trainer_of,
)

Stages = Callable[..., StageContext]


def off_policy(stage: StageContext, spread: float = 0.5) -> tuple[Any, Any, dict[str, torch.Tensor], torch.Tensor]:
    """A trainer, its disturbed model, a batch with the log-probabilities of an older policy, and those of the model."""
    trainer = trainer_of(stage)
    model = trainer.model.train()
    generator = torch.Generator().manual_seed(2)
    batch = grpo_batch(trainer, generator)
    disturb(model)
    logs = answer_log_probabilities(model, batch)
    batch["old_per_token_logps"] = logs.detach() + spread * torch.randn(logs.shape, generator=generator)
    return trainer, model, batch, logs


def pad_does_not_matter(trainer: Any, batch: dict[str, torch.Tensor]) -> None:
    """Other tokens under the padding of prompts and answers leave the loss as it is."""
    other = dict(batch)
    for name in ("prompt", "completion"):
        other[f"{name}_ids"] = torch.where(batch[f"{name}_mask"] == 1, batch[f"{name}_ids"], 17)
    same(trainer.compute_loss(trainer.model, other), trainer.compute_loss(trainer.model, dict(batch)))


@pytest.mark.parametrize("variant", ["grpo", "dr-grpo"])
def test_the_clip_of_grpo_may_be_asymmetric(variant: str, make_stage: Stages) -> None:
    """-min(r A, clip(r, 1 - epsilon, 1 + epsilon_high) A) with the normalisation of each variant."""
    stage = make_stage(variant, epsilon=0.1, epsilon_high=0.4, minibatches=2)
    trainer, model, batch, logs = off_policy(stage)
    kept, advantages = batch["completion_mask"], batch["advantages"][:, None]
    ratio = (logs - batch["old_per_token_logps"]).exp()
    tokens = torch.minimum(ratio * advantages, ratio.clamp(0.9, 1.4) * advantages) * kept
    if variant == "grpo":
        expected = -(tokens.sum(-1) / kept.sum(-1)).mean()
    else:
        expected = -tokens.sum() / (4 * stage.run.spec.evaluation.max_new_tokens)
    loss = trainer.compute_loss(model, dict(batch))
    same(loss, expected)
    same_gradients(loss, expected, model)
    pad_does_not_matter(trainer, batch)


def test_dapo_weighs_every_token_of_the_batch_the_same_and_clips_higher_above(make_stage: Stages) -> None:
    """-1/sum |y| sum_i sum_t min(r A, clip(r, 0.8, 1.28) A), no KL; rows that were dropped are not in either sum."""
    stage = make_stage("dapo", minibatches=1)
    trainer, model, batch, logs = off_policy(stage)
    used = torch.tensor([1, 1, 0, 1])[:, None]
    batch["tool_mask"] = used.expand_as(batch["completion_mask"]).contiguous()
    kept = batch["completion_mask"] * used
    batch["num_items_in_batch"] = kept.sum()
    advantages = batch["advantages"][:, None]
    batch["old_per_token_logps"][0, :2] = logs.detach()[0, :2] - torch.tensor([1.24, 1.5]).log()  # inside, and clipped
    ratio = (logs - batch["old_per_token_logps"]).exp()
    tokens = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.28) * advantages)
    expected = -(tokens * kept).sum() / (sum(ANSWERS) - ANSWERS[2])
    loss = trainer.compute_loss(model, dict(batch))
    same(loss, expected)
    same_gradients(loss, expected, model)
    pad_does_not_matter(trainer, batch)
    assert trainer.ref_model is None


def test_a_dapo_batch_in_parts_is_the_whole_batch(make_stage: Stages) -> None:
    """Eight rows are computed in four parts of similar length: the same token mean over all of them."""
    stage = make_stage("dapo", minibatches=1)
    trainer, model, batch, _ = off_policy(stage)
    twice = {name: torch.cat([value, value]) if value.ndim else 2 * value for name, value in batch.items()}
    same(trainer.compute_loss(model, twice), trainer.compute_loss(model, dict(batch)))


def test_gspo_has_one_ratio_a_completion(make_stage: Stages) -> None:
    """-mean_i min(s A, clip(s, 1 - 3e-4, 1 + 4e-4) A) with s = exp(1/|y| sum_t log r_t)."""
    stage = make_stage("gspo")
    trainer, model, batch, logs = off_policy(stage, spread=1e-3)
    kept, advantages = batch["completion_mask"], batch["advantages"]
    ratio = (((logs - batch["old_per_token_logps"]) * kept).sum(-1) / kept.sum(-1)).exp()
    inside = (ratio > 1 - 3e-4) & (ratio < 1 + 4e-4)
    assert bool(inside.any()) and not bool(inside.all()), "all or none clipped: this test would prove nothing"
    expected = -torch.minimum(ratio * advantages, ratio.clamp(1 - 3e-4, 1 + 4e-4) * advantages).mean()
    loss = trainer.compute_loss(model, dict(batch))
    same(loss, expected)
    same_gradients(loss, expected, model)
    pad_does_not_matter(trainer, batch)


def test_rloo_takes_whole_completions_as_actions(make_stage: Stages) -> None:
    """-mean_i min(r A, clip(r, 0.8, 1.2) A) with r = exp(sum_t log pi/pi_old)."""
    stage = make_stage("rloo")
    trainer, model, batch, logs = off_policy(stage, spread=0.1)
    kept, advantages = batch["completion_mask"], batch["advantages"]
    batch["old_logps"] = (batch.pop("old_per_token_logps") * kept).sum(-1)
    ratio = ((logs * kept).sum(-1) - batch["old_logps"]).exp()
    clipped = (ratio - 1).abs() > 0.2
    assert bool(clipped.any()) and not bool(clipped.all())
    expected = -torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).mean()
    loss = trainer.compute_loss(model, dict(batch))
    same(loss, expected)
    same_gradients(loss, expected, model)
    pad_does_not_matter(trainer, batch)


def test_rloo_compares_with_the_others_and_charges_kl_to_the_start_policy(make_stage: Stages) -> None:
    """A_i = R_i - mean of the siblings' R, R = reward - beta sum_t log pi/pi_ref, the policy being elsewhere by now."""
    stage = make_stage("rloo", beta=0.5, group_size=4, prompts_per_step=4)
    trainer = trainer_of(stage)
    model, reference = trainer.model.train(), stage.reference()
    disturb(model)
    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    kept = inputs["completion_mask"]
    width = inputs["prompt_ids"].shape[1]

    def summed(which: Any) -> torch.Tensor:
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        mask = torch.cat([inputs["prompt_mask"], kept], 1)
        with torch.no_grad():
            logs = torch.log_softmax(which(input_ids=ids, attention_mask=mask).logits[:, :-1].float(), -1)
        return (logs.gather(-1, ids[:, 1:, None])[..., 0][:, width - 1 :] * kept).sum(-1)

    tokenizer, task = stage.policy.tokenizer, stage.task
    items = {str(task.prompt(item)): item for item in stage.train_items(32)}
    prompts = [tokenizer.decode(i[m.bool()]) for i, m in zip(inputs["prompt_ids"], inputs["prompt_mask"], strict=True)]
    texts = [
        tokenizer.decode(i[m.bool()], skip_special_tokens=True)
        for i, m in zip(inputs["completion_ids"], kept, strict=True)
    ]
    rewards = torch.tensor([task.grade(items[p], t).reward for p, t in zip(prompts, texts, strict=True)])
    shaped = rewards - 0.5 * (summed(model) - summed(reference))
    expected = torch.empty_like(shaped)
    for row, prompt in enumerate(prompts):
        others = [shaped[i] for i, other in enumerate(prompts) if other == prompt and i != row]
        assert len(others) == 3
        expected[row] = shaped[row] - torch.stack(others).mean()
    torch.testing.assert_close(inputs["advantages"], expected, rtol=1e-4, atol=1e-4)


def test_reinforce_weighs_whole_completions_by_reward_above_the_baseline(make_stage: Stages) -> None:
    """-1/N sum_i (R_i - b) sum_t log pi(y_t): the same however the rows are divided."""
    stage = make_stage("reinforce", temperature=0.7)
    trainer = trainer_of(stage)
    model = trainer.model.train()
    disturb(model)
    batch = grpo_batch(trainer_of(make_stage("grpo")), torch.Generator().manual_seed(2))
    rows = {name: value for name, value in batch.items() if value.ndim}
    logs = answer_log_probabilities(model, batch, 0.7)
    expected = -(batch["advantages"] * (logs * batch["completion_mask"]).sum(-1)).mean()
    totals = Totals(4, float(sum(ANSWERS)))
    loss, _ = trainer.objective.loss(rows, totals)
    same(loss, expected)
    same_gradients(loss, expected, model)
    halves = [{name: value[part] for name, value in rows.items()} for part in (slice(0, 1), slice(1, 4))]
    same(sum(trainer.objective.loss(half, totals)[0] for half in halves), expected)
    other = {**rows, "completion_ids": torch.where(rows["completion_mask"] == 1, rows["completion_ids"], 17)}
    same(trainer.objective.loss(other, totals)[0], expected)


def test_the_baseline_of_reinforce_is_the_mean_of_earlier_batches(make_stage: Stages) -> None:
    stage = make_stage("reinforce", baseline_decay=0.5, prompts_per_step=8, samples=2)
    objective = trainer_of(stage).objective
    expected = None
    for number in range(3):
        rows, values = objective.collect(number)
        before = values["reward"] if expected is None else expected
        rewards = rows["advantages"] + before
        assert values["baseline"] == pytest.approx(before)
        assert float(rewards.mean()) == pytest.approx(values["reward"], abs=1e-6)
        expected = before + 0.5 * (values["reward"] - before)
    assert objective.remember() == {"expected": pytest.approx(expected)}
