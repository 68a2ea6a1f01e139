"""The trainers' losses on fixed tensors, to 1e-5 of the papers' formulas written out in plain torch.

The batches are made here: rows of uneven length with padding, so that a wrong mask, mean or normalisation shows.
Weights are the lab model's, moved away from the reference. Nothing depends on how good the model is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from harness.context import StageContext
from harness.registry import load_method
from tests.methods.test_loss_parity import disturb, gradients, log_probabilities

Stages = Callable[..., StageContext]
Batch = dict[str, torch.Tensor]

PROMPTS, ANSWERS = [5, 2, 7, 4], [6, 11, 1, 3]  # tokens of each row


def trainer_of(stage: StageContext) -> Any:
    spec = stage.run.spec
    train = load_method(spec.method.name, **spec.method.parameters).stages[0]
    trainer = train.objective.trainer(stage, train.optimiser)  # type: ignore[attr-defined]
    trainer.current_gradient_accumulation_steps = 1  # what `train()` sets before its first step
    return trainer


def rows(pad: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids, attention mask and mask of the answers' tokens, padded on the right: [4, 13]."""
    width = max(p + a for p, a in zip(PROMPTS, ANSWERS, strict=True))
    ids = torch.randint(5, 900, (4, width), generator=torch.Generator().manual_seed(1))
    place = torch.arange(width)[None]
    start = torch.tensor(PROMPTS)[:, None]
    end = start + torch.tensor(ANSWERS)[:, None]
    ids[place.expand(4, -1) >= end] = pad
    return ids, (place < end).long(), ((place >= start) & (place < end)).long()


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to 1e-5, or to ten roundings of float32 at 1: losses are means of terms of that size that may cancel."""
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def same_gradients(found: torch.Tensor, expected: torch.Tensor, model: Any) -> None:
    ours, theirs = gradients(expected, model), gradients(found, model)
    assert float(ours.abs().max()) > 0
    assert float((theirs - ours).norm() / ours.norm()) < 1e-4


def test_sft_means_over_all_answer_tokens_of_a_batch(make_stage: Stages) -> None:
    """-1/T sum_t log pi(y_t | x, y_<t), T the answer tokens of the whole batch: no mean of means, no prompt."""
    trainer = trainer_of(make_stage("sft"))
    model = trainer.model.train()
    ids, mask, answer = rows(trainer.processing_class.pad_token_id)
    batch = {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(answer == 0, -100)}
    logs = log_probabilities(model, ids, mask)
    expected = -(logs * answer[:, 1:]).sum() / sum(ANSWERS)
    loss = trainer.compute_loss(model, dict(batch))
    same(loss, expected)
    same(trainer.compute_loss(model, dict(batch), num_items_in_batch=torch.tensor(sum(ANSWERS))), expected)
    same_gradients(loss, expected, model)


def test_sft_does_not_look_at_padding(make_stage: Stages) -> None:
    trainer = trainer_of(make_stage("sft"))
    ids, mask, answer = rows(trainer.processing_class.pad_token_id)
    batch = {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(answer == 0, -100)}
    other = {**batch, "input_ids": torch.where(mask == 1, ids, 17)}
    same(trainer.compute_loss(trainer.model, dict(other)), trainer.compute_loss(trainer.model, dict(batch)))


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_dpo_sums_over_answers_and_subtracts_the_reference(make_stage: Stages, beta: float) -> None:
    """-log sigmoid(beta [log pi/pi_ref(chosen) - log pi/pi_ref(rejected)]), the mean over pairs; tokens are summed."""
    stage = make_stage("dpo", beta=beta)
    trainer = trainer_of(stage)
    model, reference = trainer.model.train(), stage.reference()
    ids, mask, answer = rows(trainer.processing_class.pad_token_id)
    batch = {"input_ids": ids, "attention_mask": mask, "completion_mask": answer}
    assert float(trainer.compute_loss(model, dict(batch))) == pytest.approx(math.log(2), rel=1e-5)
    disturb(model)
    with torch.no_grad():
        of_reference = (log_probabilities(reference, ids, mask) * answer[:, 1:]).sum(-1)
    of_policy = (log_probabilities(model, ids, mask) * answer[:, 1:]).sum(-1)
    ratio = of_policy - of_reference
    margin = ratio[:2] - ratio[2:]  # chosen rows first, then rejected
    assert float(margin.abs().min()) > 0.01
    expected = -F.logsigmoid(beta * margin).mean()
    loss = trainer.compute_loss(model, dict(batch))
    same(loss, expected)
    same_gradients(loss, expected, model)


def test_the_dpo_reference_is_the_start_policy_and_stays(make_stage: Stages) -> None:
    stage = make_stage("dpo")
    start = {name: tensor.detach().clone() for name, tensor in stage.policy.model.named_parameters()}
    trainer = trainer_of(stage)
    disturb(trainer.model)
    for name, tensor in trainer.ref_model.named_parameters():
        assert torch.equal(tensor, start[name]) and not tensor.requires_grad


def test_dpo_pairs_end_and_share_their_prompt(make_stage: Stages) -> None:
    """A chosen answer grades right, its rejected one wrong, both of one question and both with an end token."""
    stage = make_stage("dpo")
    trainer, task, tokenizer = trainer_of(stage), stage.task, stage.policy.tokenizer
    items = {str(task.prompt(item)): item for item in task.items("train", 64)}
    batch = next(iter(trainer.get_train_dataloader()))
    ids, mask, answer = batch["input_ids"], batch["attention_mask"], batch["completion_mask"]
    half = len(ids) // 2
    prompts = [tokenizer.decode(i[(m == 1) & (a == 0)]) for i, m, a in zip(ids, mask, answer, strict=True)]
    texts = [tokenizer.decode(i[a == 1], skip_special_tokens=True) for i, a in zip(ids, answer, strict=True)]
    assert all(i[a == 1][-1] == tokenizer.eos_token_id for i, a in zip(ids, answer, strict=True))
    assert prompts[:half] == prompts[half:]
    verdicts = [task.grade(items[prompt], text).correct for prompt, text in zip(prompts, texts, strict=True)]
    assert verdicts == [True] * half + [False] * half


def grpo_batch(trainer: Any, generator: torch.Generator) -> Batch:
    """Prompts padded on the left, answers on the right, and advantages of both signs."""
    pad = trainer.processing_class.pad_token_id
    ids = torch.randint(5, 900, (4, 18), generator=generator)
    prompt_mask = (torch.arange(7)[None] >= 7 - torch.tensor(PROMPTS)[:, None]).long()
    answer_mask = (torch.arange(11)[None] < torch.tensor(ANSWERS)[:, None]).long()
    return {
        "prompt_ids": ids[:, :7].masked_fill(prompt_mask == 0, pad),
        "prompt_mask": prompt_mask,
        "completion_ids": ids[:, 7:].masked_fill(answer_mask == 0, pad),
        "completion_mask": answer_mask,
        "advantages": torch.tensor([1.5, -0.7, -1.2, 0.4]),
        "num_items_in_batch": answer_mask.sum(),
    }


def answer_log_probabilities(model: Any, batch: Batch, temperature: float = 1.0) -> torch.Tensor:
    """log pi of every answer token at a temperature, [rows, answer tokens]."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float() / temperature
    return F.log_softmax(logits, -1).gather(-1, ids[:, 1:, None])[..., 0][:, 6:]


@pytest.mark.parametrize(("beta", "temperature"), [(0.0, 1.0), (0.04, 1.0), (0.3, 0.7)])
def test_grpo_clips_means_inside_answers_and_adds_the_kl(make_stage: Stages, beta: float, temperature: float) -> None:
    """1/G sum_i 1/|o_i| sum_t -min(r A, clip(r, 0.8, 1.2) A) + beta (pi_ref/pi - log pi_ref/pi - 1), off policy."""
    stage = make_stage("grpo", beta=beta, temperature=temperature)
    trainer = trainer_of(stage)
    model = trainer.model.train()
    generator = torch.Generator().manual_seed(2)
    batch = grpo_batch(trainer, generator)
    disturb(model)
    logs = answer_log_probabilities(model, batch, temperature)
    old = logs.detach() + 0.5 * torch.randn(logs.shape, generator=generator)
    with torch.no_grad():
        of_reference = answer_log_probabilities(stage.reference(), batch, temperature)
    if beta:
        with torch.no_grad():
            found = answer_log_probabilities(trainer.ref_model, batch, temperature)
        assert torch.equal(found, of_reference), "the reference is not the start policy"
        batch["ref_per_token_logps"] = of_reference
    else:
        assert trainer.ref_model is None
    batch["old_per_token_logps"] = old
    kept, advantages = batch["completion_mask"], batch["advantages"][:, None]
    ratio = (logs - old).exp()
    clipped = (ratio - 1).abs() > 0.2
    assert bool((clipped & (kept == 1)).any()) and bool((~clipped & (kept == 1)).any())
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
    kl = (of_reference - logs).exp() - (of_reference - logs) - 1
    per_answer = ((-surrogate + beta * kl) * kept).sum(-1) / kept.sum(-1)
    expected = per_answer.mean()
    loss = trainer.compute_loss(model, dict(batch))
    same(loss, expected)
    same_gradients(loss, expected, model)


def test_grpo_advantages_are_z_scores_inside_a_group(make_stage: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    """(r - mean) / (std + 1e-4) with Bessel's correction; a group of equal rewards has none."""
    stage = make_stage("grpo", group_size=4, prompts_per_step=3)
    rewards = iter([0.0, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.1])
    real = stage.task.grade
    monkeypatch.setattr(
        stage.task, "grade", lambda item, text: replace(real(item, text), reward=next(rewards)), raising=True
    )
    trainer = trainer_of(stage)
    trainer.model.train()
    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    given = torch.tensor([[0.0, 1.0, 0.0, 0.5], [1.0] * 4, [0.0, 0.0, 0.0, 0.1]])
    expected = (given - given.mean(1, keepdim=True)) / (given.std(1, keepdim=True) + 1e-4)
    prompts = [tuple(row.tolist()) for row in inputs["prompt_ids"]]
    found: dict[tuple[int, ...], list[float]] = {}
    for prompt, advantage in zip(prompts, inputs["advantages"].flatten().tolist(), strict=True):
        found.setdefault(prompt, []).append(advantage)
    by_group = sorted(sorted(group) for group in found.values())
    wanted = sorted(sorted(group) for group in expected.tolist())
    for one, other in zip(by_group, wanted, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
