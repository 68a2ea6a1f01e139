"""PPO: advantages by hand, the loss on fixed tensors, the reference, the value head's place, and that it learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.context import StageContext
from harness.events import read_events
from harness.micro_batches import MicroBatches
from harness.models import load_model
from harness.registry import load_method
from methods.online.advantage import generalised_advantages, token_rewards, whitened
from methods.online.trainer import Totals
from methods.online.value_head import ValueHead
from methods.parameterisations.lora import lora
from tests.conftest import kill_when, make_spec, place, run_to_end
from tests.methods.test_loss_parity import disturb, gradients
from tests.methods.test_loss_tensors import ANSWERS, answer_log_probabilities, grpo_batch, same, trainer_of

Stages = Callable[..., StageContext]


def test_advantages_of_a_case_worked_out_by_hand() -> None:
    """gamma 1/2, lambda 1/2: delta = (0 + 2 - 2, 0 + 1 - 4, 8 - 2) = (0, -3, 6), A = (-3/8, -3/2, 6); and one token."""
    rewards = torch.tensor([[0.0, 0.0, 8.0], [3.0, 0.0, 0.0]])
    values = torch.tensor([[2.0, 4.0, 2.0], [1.0, 9.0, 9.0]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    advantages, returns = generalised_advantages(rewards, values, mask, 0.5, 0.5)
    assert advantages.tolist() == [[-0.375, -1.5, 6.0], [2.0, 0.0, 0.0]]
    assert returns.tolist() == [[1.625, 2.5, 8.0], [3.0, 0.0, 0.0]]


def test_lambda_one_is_the_return_less_the_value_and_zero_is_the_next_difference() -> None:
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 6, generator=generator), torch.randn(2, 6, generator=generator)
    mask = (torch.arange(6)[None] < torch.tensor([6, 4])[:, None]).long()
    rewards, inside = rewards * mask, values * mask
    later = torch.stack([sum(0.9**k * rewards[:, t + k] for k in range(6 - t)) for t in range(6)], 1)
    same(generalised_advantages(rewards, values, mask, 0.9, 1.0)[0], (later - values) * mask)
    following = torch.cat([inside[:, 1:], torch.zeros(2, 1)], 1)
    same(generalised_advantages(rewards, values, mask, 0.9, 0.0)[0], (rewards + 0.9 * following - values) * mask)


def test_kl_is_paid_at_every_token_and_the_score_at_the_last() -> None:
    found = token_rewards(
        torch.tensor([1.0, 0.5]),
        torch.tensor([[0.2, -0.4, 7.0], [1.0, 1.0, 1.0]]),
        torch.tensor([[1, 1, 0], [1, 1, 1]]),
        0.1,
    )
    same(found, torch.tensor([[-0.02, 1.04, 0.0], [-0.1, -0.1, 0.4]]))


def test_whitening_looks_at_tokens_alone() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    found = whitened(torch.tensor([[1.0, 2.0, 99.0], [6.0, -99.0, 0.0]]), mask)
    inside = found[mask.bool()]
    assert float(inside.mean()) == pytest.approx(0, abs=1e-6) and float(inside.std(correction=0)) == pytest.approx(1)
    assert not found[mask == 0].any()


def fixed_rows(trainer: Any) -> dict[str, torch.Tensor]:
    """A batch whose ratios and values are partly clipped."""
    generator = torch.Generator().manual_seed(2)
    batch = grpo_batch(trainer, generator)
    rows = {name: value for name, value in batch.items() if value.ndim and name != "advantages"}
    shape = rows["completion_ids"].shape
    for name in ("advantages", "returns", "old_values"):
        rows[name] = torch.randn(shape, generator=generator)
    rows["noise"] = 0.5 * torch.randn(shape, generator=generator)
    return rows


def test_the_loss_of_ppo(make_stage: Stages) -> None:
    """Token means of the clipped surrogate and of the larger of the clipped and unclipped squared errors of values."""
    stage = make_stage("ppo", epsilon=0.2, value_clip=0.3, value_coefficient=0.7)
    rows = fixed_rows(trainer_of(make_stage("grpo")))
    trainer = trainer_of(stage)
    model, objective = trainer.model.train(), trainer.objective
    disturb(model)
    with torch.no_grad():
        objective.value.linear.weight.normal_(generator=torch.Generator().manual_seed(3)).mul_(0.1)
    ids = torch.cat([rows["prompt_ids"], rows["completion_ids"]], 1)
    mask = torch.cat([rows["prompt_mask"], rows["completion_mask"]], 1)
    hidden = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state[:, 6:-1]
    values = hidden @ objective.value.linear.weight[0] + objective.value.linear.bias
    logs = answer_log_probabilities(model, rows)
    rows["old_logprobs"] = logs.detach() + rows.pop("noise")
    kept, advantages, returns, old = (rows[name] for name in ("completion_mask", "advantages", "returns", "old_values"))
    ratio = (logs - rows["old_logprobs"]).exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
    near = torch.minimum(torch.maximum(values, old - 0.3), old + 0.3)
    errors = torch.maximum((values - returns) ** 2, (near - returns) ** 2)
    assert bool(((values - old).abs() > 0.3)[kept == 1].any()) and bool(((values - old).abs() < 0.3)[kept == 1].any())
    expected = (-(surrogate * kept).sum() + 0.7 * 0.5 * (errors * kept).sum()) / sum(ANSWERS)
    totals = Totals(4, float(sum(ANSWERS)))
    loss, logged = objective.loss(rows, totals)
    same(loss, expected)
    assert logged["policy_loss"] + 0.7 * logged["value_loss"] == pytest.approx(float(loss), rel=1e-5)
    ours, theirs = gradients(expected, model), gradients(loss, model)
    assert float((theirs - ours).norm() / ours.norm()) < 1e-4
    halves = [{name: value[part] for name, value in rows.items()} for part in (slice(0, 1), slice(1, 4))]
    same(sum(objective.loss(half, totals)[0] for half in halves), loss)
    other = {
        name: value if "mask" in name or "prompt" in name else torch.where(kept == 1, value, torch.full_like(value, 17))
        for name, value in rows.items()
    }
    same(objective.loss(other, totals)[0], loss)


def train_of(stage: StageContext) -> Any:
    return load_method("ppo", **stage.run.spec.method.parameters).stages[0]


def stage_with_lora(stage: StageContext) -> tuple[StageContext, Any]:
    """The same stage with an adapter in place of full fine-tuning, and its trainer."""
    handle = load_model("lab")
    fresh = replace(stage.policy, model=handle.model().eval())
    stage = replace(stage, policy=lora(4, 8.0).attach(fresh, 0))
    train = train_of(stage)
    return stage, train.objective.trainer(stage, train.optimiser)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["full", "adapter"])
def test_the_kl_is_to_the_start_policy(kind: str, make_stage: Stages) -> None:
    stage = make_stage("ppo")
    stage, trainer = stage_with_lora(stage) if kind == "adapter" else (stage, trainer_of(stage))
    assert stage.policy.kind == kind
    disturb(trainer.model) if kind == "full" else [
        torch.nn.init.normal_(tensor, std=0.1) for tensor in stage.policy.tensors().values()
    ]
    rows = {name: value for name, value in grpo_batch(trainer_of(make_stage("grpo")), torch.Generator()).items()}
    kept = rows["completion_mask"]
    with torch.no_grad():
        expected = answer_log_probabilities(load_model("lab").model().eval(), rows)
        moved = answer_log_probabilities(stage.policy.model.eval(), rows)
        found = trainer.objective.reference_logprobs({name: value for name, value in rows.items() if value.ndim})
    same(found * kept, expected * kept)
    assert float(((moved - expected) * kept).abs().max()) > 0.01, "the policy has not moved: this would prove nothing"


def test_the_value_head_learns_at_its_own_rate_and_comes_back_whole(tmp_path: Path) -> None:
    hidden = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    wanted = hidden @ torch.linspace(-1, 1, 8) + 0.5

    def fit(head: ValueHead, steps: int) -> None:
        for _ in range(steps):
            ((head(hidden) - wanted) ** 2).mean().backward()
            head.step(0.05)

    whole, first, second = (ValueHead(8, "cpu", max_norm=1e9) for _ in range(3))
    assert not whole(hidden).any()
    fit(whole, 60)
    fit(first, 25)
    first.save(tmp_path)
    second.load(tmp_path)
    fit(second, 35)
    assert torch.equal(second.linear.weight, whole.linear.weight) and torch.equal(second.linear.bias, whole.linear.bias)
    assert float(((whole(hidden) - wanted) ** 2).mean()) < 0.05


def test_an_update_begun_again_after_memory_ran_out_counts_no_gradient_twice(make_stage: Stages) -> None:
    """The head's gradients of a failed attempt are dropped like the policy's, and so is what was to be logged."""

    def update(fails: bool) -> tuple[torch.Tensor, dict[str, float]]:
        stage = make_stage("ppo", samples=2, steps=4 + int(fails))  # another run that samples the same
        stage.accumulation = 2 if fails else 4
        trainer = trainer_of(stage)
        objective, calls = trainer.objective, []
        loss = objective.loss

        def scarce(*given: Any) -> Any:
            calls.append(given)
            if fails and len(calls) == 6:
                raise torch.OutOfMemoryError("out of memory")
            return loss(*given)

        objective.loss = scarce
        MicroBatches(stage, trainer, train_of(stage).objective.split)
        trainer.create_optimizer_and_scheduler(10)
        objective.update = lambda rate: None
        trainer.training_step(trainer.model, {"number": torch.tensor(0)})
        assert stage.accumulation == 4
        return objective.value.linear.weight.grad, dict(trainer.shares)

    (gradient, logged), (again, logged_again) = update(False), update(True)
    same(again, gradient)
    assert float(gradient.abs().max()) > 0
    assert logged_again == pytest.approx(logged, rel=1e-5)


def test_a_checkpoint_has_the_value_head_and_the_exported_policy_has_not(runs: Path) -> None:
    spec = make_spec("ppo", prompts_per_step=32, minibatches=1)  # enough answers that one of them is right
    directory = place(spec, runs)
    kill_when(directory, lambda run: any(run.checkpoint.glob("stage-0/*-2/state.json")))
    whole = [state.parent for state in directory.checkpoint.glob("stage-0/*/state.json")]
    assert whole and all(load_file(folder / "value_head.safetensors")["weight"].any() for folder in whole)
    finished = run_to_end(make_spec("ppo", seed=1), runs)
    start = set(dict(load_model("lab").model().named_parameters()))
    assert set(dict(load_model(str(finished.model)).model().named_parameters())) == start
    files = {path.name for path in finished.model.iterdir()}
    assert "value_head.safetensors" not in files
    assert not any("value" in name for file in finished.model.glob("*.safetensors") for name in load_file(file))


def test_ppo_learns_one_prompt_by_heart(runs: Path) -> None:
    """One question asked again and again: the reward reaches 1, and the values follow it."""
    settings = {"examples": 1, "prompts_per_step": 32, "minibatches": 1, "epochs": 2, "beta": 0.0}
    directory = run_to_end(make_spec("ppo", steps=64, temperature=1.5, learning_rate=5e-4, **settings), runs)
    values = [event["values"] for event in read_events(directory.events) if event["kind"] == "metrics"]
    rewards = [one["reward"] for one in values if "reward" in one]
    assert rewards[0] < 0.6 and median(rewards[-10:]) > 0.95  # one batch may be unlucky
    assert values[0]["value"] == 0.0 and sum(one["value"] for one in values[-10::2]) / 5 > 0.8
