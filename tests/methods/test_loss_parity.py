"""What TRL's trainers compute under our settings, against the papers' formulas written out here in plain torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from harness.context import StageContext
from harness.registry import load_method
from methods.objectives.kto import labelled
from methods.objectives.rejection import accepted

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


def preference_scores(trainer: Any, stage: StageContext, batch: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    """Log-ratios to the reference of chosen and rejected completions, their lengths, and token log-probabilities."""
    ids, mask, completion = batch["input_ids"], batch["attention_mask"], batch["completion_mask"][:, 1:]
    with torch.no_grad():
        of_reference = (log_probabilities(stage.reference(), ids, mask) * completion).sum(-1)
    tokens = log_probabilities(trainer.model, ids, mask)
    ratios = (tokens * completion).sum(-1) - of_reference
    return ratios, batch["completion_mask"].sum(-1), tokens, completion


def ipo(beta: float, ratios: torch.Tensor, lengths: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    chosen, rejected = (ratios / lengths).chunk(2)
    return ((chosen - rejected - 1 / (2 * beta)) ** 2).mean()


def apo(beta: float, ratios: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    chosen, rejected = ratios.chunk(2)
    return (1 - torch.sigmoid(beta * chosen) + torch.sigmoid(beta * rejected)).mean()


def dpo_nll(
    beta: float, ratios: torch.Tensor, _: torch.Tensor, tokens: torch.Tensor, completion: torch.Tensor
) -> torch.Tensor:
    chosen, rejected = ratios.chunk(2)
    likely = tokens.chunk(2)[0][completion.chunk(2)[0].bool()].mean()
    return -F.logsigmoid(beta * (chosen - rejected)).mean() - 0.5 * likely


@pytest.mark.parametrize(
    ("method", "formula", "extra"),
    [("ipo", ipo, {}), ("apo", apo, {}), ("dpo-nll", dpo_nll, {"nll_weight": 0.5})],
    ids=["ipo", "apo", "dpo-nll"],
)
def test_the_kin_of_dpo(method: str, formula: Any, extra: dict[str, float], make_stage: Stages) -> None:
    stage = make_stage(method, prompts=64, **extra)
    trainer = trainer_of(stage)
    batch = next(iter(trainer.get_train_dataloader()))
    model = trainer.model.eval()
    disturb(model)
    expected = formula(stage.run.spec.method.parameters["beta"], *preference_scores(trainer, stage, batch))
    loss = trainer.compute_loss(model, dict(batch))
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)
    ours, theirs = gradients(expected, model), gradients(loss, model)
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-5 * float(ours.abs().max()))


def log_odds(mean: torch.Tensor) -> torch.Tensor:
    return mean - torch.log1p(-torch.exp(mean))


@pytest.mark.parametrize("method", ["cpo", "simpo", "orpo"])
def test_preferences_without_a_reference(method: str, make_stage: Stages) -> None:
    stage = make_stage(method, prompts=64)
    trainer = trainer_of(stage)
    given = stage.run.spec.method.parameters
    batch = next(iter(trainer.get_train_dataloader()))
    model = trainer.model.eval()
    loss = trainer.compute_loss(model, dict(batch))

    def scores(side: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Summed and mean log-likelihood of the answers, and the mean over all tokens for the likelihood term."""
        ids, mask = batch[f"{side}_input_ids"], batch[f"{side}_attention_mask"]
        answer = (batch[f"{side}_labels"] != -100)[:, 1:]
        tokens = log_probabilities(model, ids, mask)
        total = (tokens * answer).sum(-1)
        counted = mask[:, 1:].bool() if method == "orpo" else answer
        return total, total / answer.sum(-1), tokens[counted].mean()

    (sum_w, mean_w, likely), (sum_l, mean_l, _) = scores("chosen"), scores("rejected")
    if method == "cpo":
        expected = -F.logsigmoid(given["beta"] * (sum_w - sum_l)).mean() - given["alpha"] * likely
    elif method == "simpo":
        expected = -F.logsigmoid(given["beta"] * (mean_w - mean_l) - given["gamma"]).mean()
    else:
        expected = -likely - given["odds_weight"] * F.logsigmoid(log_odds(mean_w) - log_odds(mean_l)).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    ours, theirs = gradients(expected, model), gradients(loss, model)
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-4 * float(ours.abs().max()))


def test_kto_weighs_each_answer_against_the_reference_point(make_stage: Stages) -> None:
    stage = make_stage("kto", prompts=64, batch_size=8)
    trainer = trainer_of(stage)
    beta = stage.run.spec.method.parameters["beta"]
    batch = next(iter(trainer.get_train_dataloader()))
    model = trainer.model.eval()
    at_start = trainer.compute_loss(model, dict(batch))
    labels = torch.tensor([bool(label) for label in batch["label"]])
    assert labels.any() and not labels.all(), "only one kind of label: this test would prove nothing"
    weights = torch.where(labels, trainer.args.desirable_weight, trainer.args.undesirable_weight)
    torch.testing.assert_close(at_start, (0.5 * weights).mean(), rtol=1e-4, atol=1e-5)  # r = z = 0
    disturb(model)
    loss = trainer.compute_loss(model, dict(batch))
    reference = stage.reference()

    def ratio(prefix: str) -> torch.Tensor:
        ids, mask = batch[f"{prefix}input_ids"], batch[f"{prefix}attention_mask"]
        completion = batch[f"{prefix}completion_mask"][:, 1:]
        with torch.no_grad():
            of_reference = (log_probabilities(reference, ids, mask) * completion).sum(-1)
        return (log_probabilities(model, ids, mask) * completion).sum(-1) - of_reference

    ratios = ratio("")
    with torch.no_grad():
        point = ratio("KL_").mean().clamp(min=0)
    signs = torch.where(labels, 1.0, -1.0)
    expected = (weights * (1 - torch.sigmoid(beta * signs * (ratios - point)))).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)


def test_kto_rows_beside_each_other_are_of_different_prompts(make_stage: Stages) -> None:
    stage = make_stage("kto", prompts=64)
    rows = labelled(stage, load_method("kto", **stage.run.spec.method.parameters).stages[0].objective)
    same = sum(one["prompt"] == other["prompt"] for one, other in pairwise(rows))
    assert len(rows) > 20 and same < 0.3 * len(rows)


def test_rejection_keeps_different_right_answers_and_few_of_each_prompt(make_stage: Stages) -> None:
    stage = make_stage("rft", prompts=64, keep=2)
    rows = accepted(stage, load_method("rft", **stage.run.spec.method.parameters).stages[0].objective)
    items = {str(stage.task.prompt(item)): item for item in stage.train_items(64)}
    seen = [(row["prompt"], row["completion"]) for row in rows]
    assert len(set(seen)) == len(seen) > 4
    assert max(Counter(prompt for prompt, _ in seen).values()) <= 2
    assert all(stage.task.grade(items[prompt], answer).correct for prompt, answer in seen)


def test_dr_grpo_divides_neither_by_length_nor_by_spread(make_stage: Stages) -> None:
    stage = make_stage("dr-grpo", group_size=8, prompts_per_step=8)
    trainer = trainer_of(stage)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    tokenizer, task = stage.policy.tokenizer, stage.task
    items = {str(task.prompt(item)): item for item in stage.train_items(32)}
    prompts = [tokenizer.decode(i[m.bool()]) for i, m in zip(inputs["prompt_ids"], inputs["prompt_mask"], strict=True)]
    kept = inputs["completion_mask"]
    answers = [
        tokenizer.decode(i[m.bool()], skip_special_tokens=True)
        for i, m in zip(inputs["completion_ids"], kept, strict=True)
    ]
    rewards = torch.tensor([task.grade(items[p], a).reward for p, a in zip(prompts, answers, strict=True)])
    assert len(set(rewards.tolist())) > 1, "every reward is the same: this test would prove nothing"
    advantages = torch.zeros_like(rewards)
    for prompt in set(prompts):
        group = torch.tensor([p == prompt for p in prompts])
        advantages[group] = rewards[group] - rewards[group].mean()
    torch.testing.assert_close(inputs["advantages"].flatten(), advantages, rtol=1e-4, atol=1e-4)
    loss = trainer.compute_loss(trainer.model, inputs)
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    mask = torch.cat([inputs["prompt_mask"], kept], 1)
    log_pi = log_probabilities(trainer.model, ids, mask)[:, -kept.shape[1] :]
    longest = stage.run.spec.evaluation.max_new_tokens
    surrogate = -(log_pi * advantages[:, None] * kept).sum() / (len(rewards) * longest)
    ours, theirs = gradients(surrogate, trainer.model), gradients(loss, trainer.model)
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-4 * float(ours.abs().max()))


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
