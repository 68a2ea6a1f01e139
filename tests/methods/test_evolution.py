"""Oracles of the evolution strategy: its noise, its update against a dense sum, and what must leave weights alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from harness.context import StageContext
from harness.contracts import Item
from harness.engines.hf import HFEngine
from harness.engines.population import PopulationEngine
from harness.engines.side_path import members_of
from harness.policy import digest_of
from methods.optimisers.evolution import evolution, noise, shaped

Stages = Callable[..., StageContext]


class LinearReward:
    """R = g . theta / |g| over all tensors: the answer itself is not looked at."""

    name, gives, needs = "linear", frozenset({"fitness"}), frozenset()

    def __init__(self, of_member: Sequence[float]) -> None:
        self.of_member = list(of_member)
        self.calls = 0

    def batch(self, stage: StageContext, iteration: int) -> Sequence[Item]:
        return stage.task.items("train", 2)

    def score(self, stage: StageContext, item: Item, completion: str) -> float:
        member = self.calls // 2 % len(self.of_member)
        self.calls += 1
        return self.of_member[member]


def parameters(stage: StageContext) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in stage.policy.tensors().items()}


def test_noise_is_standard_normal_and_every_stream_its_own(make_stage: Stages) -> None:
    stage, other_seed = make_stage("es"), make_stage("es", seed=1)
    shape = torch.Size([128, 128])
    first = noise(stage, 0, "a", shape)
    assert torch.equal(first, noise(stage, 0, "a", shape))
    assert stats.kstest(first.flatten().numpy(), "norm").pvalue > 1e-3
    assert abs(float(stats.kurtosis(first.flatten().numpy()))) < 0.2
    later = [noise(stage, 1, "a", shape), noise(stage, 0, "b", shape), noise(other_seed, 0, "a", shape)]
    stage.step = 1
    later.append(noise(stage, 0, "a", shape))
    for a, b in combinations([first, *later], 2):
        correlation = np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1]
        assert abs(correlation) < 4 / np.sqrt(shape.numel())


def test_z_scores() -> None:
    assert shaped(np.array([3.0, 5.0])).tolist() == [-1.0, 1.0]
    z = shaped(np.array([0.0, 1.0, 1.0, 4.0]))
    assert z.mean() == pytest.approx(0) and z.std() == pytest.approx(1)
    for scale, shift in ((3.0, 7.0), (0.1, -2.0)):
        np.testing.assert_allclose(shaped(scale * np.array([0.0, 1.0, 1.0, 4.0]) + shift), z)


@pytest.mark.parametrize("reward", [0.0, 0.06, 0.1, 1 / 3, 1.0])
@pytest.mark.parametrize("members", [2, 7, 30])
def test_equal_rewards_shape_to_exact_zeros(reward: float, members: int) -> None:
    assert not shaped(np.array([reward] * members)).any()


def test_equal_rewards_move_no_weight(make_stage: Stages) -> None:
    stage = make_stage("es", steps=2)
    before = digest_of(stage.policy.model.named_parameters())
    evolution(0.1, 0.1, 4).fit(stage, LinearReward([0.1] * 4))
    assert stage.step == 2
    assert digest_of(stage.policy.model.named_parameters()) == before


@pytest.mark.parametrize("method", ["es", "lora-es"])
def test_the_update_is_the_dense_sum(make_stage: Stages, method: str) -> None:
    """theta + alpha / N * sum_n z_n eps_n, recomputed in float64 from the same noise."""
    stage = make_stage(method, steps=1)
    before = parameters(stage)
    rewards = [0.0, 0.5, 0.25, 1.0]
    strategy = evolution(sigma=0.02, alpha=0.3, population=4)
    strategy.fit(stage, LinearReward(rewards))
    after = parameters(stage)
    stage.step = 0
    z = (np.array(rewards) - np.mean(rewards)) / np.std(rewards)
    for name, start in before.items():
        dense = sum(z[n] * noise(stage, n, name, start.shape).double() for n in range(4)) * 0.3 / 4
        torch.testing.assert_close(after[name].double() - start.double(), dense, atol=2e-7, rtol=1e-5)


def test_the_step_has_the_known_size(make_stage: Stages) -> None:
    """Pure-noise rewards: the update's root mean square is alpha / sqrt(N), within one per cent."""
    stage = make_stage("es", steps=1)
    before = parameters(stage)
    evolution(sigma=0.01, alpha=0.05, population=16).fit(stage, LinearReward(np.random.default_rng(0).random(16)))
    moved = torch.cat([(tensor - before[name]).flatten() for name, tensor in parameters(stage).items()])
    assert float(moved.square().mean().sqrt()) == pytest.approx(0.05 / np.sqrt(16), rel=0.01)


def test_a_linear_reward_is_climbed() -> None:
    """E[update] = alpha c_N g / |g| with c_N the mean of z_n times its own noise; the direction is the gradient's."""
    rng = np.random.default_rng(1)
    dimension, members, sigma, alpha, rounds = 8, 30, 0.1, 1.0, 4000
    gradient = rng.normal(size=dimension)
    total = np.zeros(dimension)
    for _ in range(rounds):
        eps = rng.normal(size=(members, dimension))
        total += alpha / members * shaped(sigma * eps @ gradient) @ eps
    mean = total / rounds
    unit = gradient / np.linalg.norm(gradient)
    assert mean @ unit / np.linalg.norm(mean) > 0.99
    assert mean @ unit == pytest.approx(0.9748, abs=0.02)  # c_30


def test_evaluating_members_leaves_the_base_alone(make_stage: Stages) -> None:
    stage = make_stage("es")
    before = digest_of(stage.policy.model.named_parameters())
    strategy = evolution(sigma=0.1, alpha=0.1, population=5)
    master = {name: tensor.detach().float().clone() for name, tensor in stage.policy.tensors().items()}
    search = strategy.search(stage, master)
    strategy._evaluate(stage, LinearReward([0.1, 0.2, 0.3, 0.4, 0.5]), search, master, list(master), 0.1)
    assert digest_of(stage.policy.model.named_parameters()) == before

    class Broken(LinearReward):
        def score(self, *_: Any) -> float:
            raise RuntimeError("the grader broke")

    with pytest.raises(RuntimeError, match="grader broke"):
        strategy._evaluate(stage, Broken([0.0] * 5), search, master, list(master), 0.1)
    assert digest_of(stage.policy.model.named_parameters()) == before
    assert not any("forward" in vars(module) for module in stage.policy.model.modules())


@pytest.mark.parametrize("method", ["es", "lora-es"])
def test_members_in_one_batch_equal_members_one_by_one(make_stage: Stages, method: str) -> None:
    """Logits to 1e-4 and greedy answers exactly, each member against a model that holds its weights."""
    stage = make_stage(method)
    master = {name: tensor.detach().float().clone() for name, tensor in stage.policy.tensors().items()}
    strategy = evolution(sigma=0.03, alpha=0.1, population=3)
    with torch.no_grad():
        members = strategy.search(stage, master).members(master, 0.03, [0, 1, 2], master)
        ids = torch.randint(5, 900, (6, 12), generator=torch.Generator().manual_seed(0))
        with members_of(stage.policy.model, members, 3):
            together = stage.policy.model(ids).logits
        prompts = [stage.task.prompt(item) for item in stage.task.items("val", 4)]
        answers = PopulationEngine(stage.policy.model, stage.policy.tokenizer).generate(
            members, 3, prompts, stage.sampling(0.0), 0
        )
        for place in range(3):
            for name, tensor in stage.policy.tensors().items():
                tensor.copy_(members[name][place])
            alone = stage.policy.model(ids[2 * place : 2 * place + 2]).logits
            torch.testing.assert_close(together[2 * place : 2 * place + 2], alone, atol=1e-4, rtol=1e-4)
            own = HFEngine(stage.policy.model, stage.policy.tokenizer).generate(prompts, stage.sampling(0.0), 0)
            assert [a.token_ids for a in answers[place]] == [a.token_ids for a in own]


def test_a_member_without_noise_is_the_base(make_stage: Stages) -> None:
    stage = make_stage("es")
    master = {name: tensor.detach().float().clone() for name, tensor in stage.policy.tensors().items()}
    ids = torch.arange(5, 17)[None].repeat(2, 1)
    with torch.no_grad():
        base = stage.policy.model(ids).logits
        unmoved = evolution(0.1, 0.1, 2).search(stage, master).members(master, 0.0, [0, 1], master)
        with members_of(stage.policy.model, unmoved, 2):
            torch.testing.assert_close(stage.policy.model(ids).logits, base, atol=1e-5, rtol=1e-5)


def test_a_bfloat16_model_is_moved_through_its_float32_master(make_stage: Stages) -> None:
    """Forty updates, each far below one unit in the last place of bfloat16, add up."""
    stage = make_stage("es", steps=40)
    stage.policy.model.to(torch.bfloat16)
    before = parameters(stage)
    evolution(sigma=0.01, alpha=2e-4, population=2).fit(stage, LinearReward([0.0, 1.0]))
    name = max(before, key=lambda key: before[key].numel())
    moved = (parameters(stage)[name].float() - before[name].float()).square().mean().sqrt()
    assert float(moved) == pytest.approx(2e-4 / np.sqrt(2) * np.sqrt(40), rel=0.15)
