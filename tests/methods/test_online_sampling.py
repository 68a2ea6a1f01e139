"""Rollouts of the online methods: what is asked, charged, dropped, refilled, and what rewards that teach nothing do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.context import StageContext
from harness.contracts import Completion, Item
from harness.events import read_events
from harness.models import load_model
from harness.policy import digest_of
from harness.spec import RunSpec
from methods.objectives.grpo import overlong
from methods.online.reward import Scorer
from methods.online.sampler import Sampler, walk
from tests.conftest import make_spec, run_to_end
from tests.methods.test_loss_tensors import trainer_of

Stages = Callable[..., StageContext]
GRADED = ["grpo", "dr-grpo", "dapo", "gspo", "reinforce"]


def by_item(stage: StageContext, good: set[str]) -> Scorer:
    """Rewards that differ within a group for the items in `good`, and are equal for any other."""

    def score(items: Sequence[Item], answers: Sequence[Completion]) -> list[float]:
        return [float(place % 2) if item.id in good else 0.0 for place, item in enumerate(items)]

    return score


def test_groups_of_equal_rewards_are_replaced_by_further_prompts_and_all_is_charged(make_stage: Stages) -> None:
    stage = make_stage("dapo", steps=100)
    items = list(stage.train_items(32))
    good = {item.id for item in items[3:]}
    sampler = Sampler(stage, items, by_item(stage, good), group_size=4, temperature=1.0, rounds=5)
    asked = [index for index in (0, 1, 7) for _ in range(4)]
    sampled = sampler.sample(asked, 0)
    meters = stage.run.meters.read()
    assert len(sampled.indices) == 12 and all(sampled.used)
    groups = [set(sampled.indices[start : start + 4]) for start in (0, 4, 8)]
    assert all(len(group) == 1 for group in groups) and len(set.union(*groups)) == 3
    assert 7 in groups[0] and not set.union(*groups) & {0, 1, 2}
    count = int(sampled.values["groups_sampled"])
    assert count >= 5 and meters.rollouts == 4 * count
    assert sampled.values["groups_dropped"] == pytest.approx((count - 3) / count)
    assert sampled.values["groups_used"] == 1.0
    again = sampler.sample(asked, 0)
    assert again.indices == sampled.indices and again.answers == sampled.answers


def test_after_the_last_round_what_is_missing_is_marked_unused(make_stage: Stages) -> None:
    stage = make_stage("dapo", steps=100)
    items = list(stage.train_items(32))
    sampler = Sampler(stage, items, by_item(stage, {items[5].id}), group_size=4, temperature=1.0, rounds=2)
    sampled = sampler.sample([index for index in (0, 5, 1) for _ in range(4)], 0)
    assert sampled.indices[:4] == [5] * 4
    assert sampled.used == [True] * 4 + [False] * 8
    assert sampled.values["groups_sampled"] == 5.0  # three, and two in the second and last round
    assert sampled.values["groups_used"] == pytest.approx(1 / 3)


def test_a_spent_budget_ends_the_refilling(make_stage: Stages) -> None:
    stage = make_stage("dapo", steps=0)
    items = list(stage.train_items(32))
    sampled = Sampler(stage, items, by_item(stage, set()), 4, 1.0, rounds=9).sample([0] * 4 + [1] * 4, 0)
    assert sampled.values["groups_sampled"] == 2.0


def test_dapo_uses_full_batches_and_logs_what_it_dropped(runs: Path) -> None:
    directory = run_to_end(make_spec("dapo", steps=3, minibatches=1), runs)
    values = [event["values"] for event in read_events(directory.events) if event["kind"] == "metrics"]
    assert all(0.0 <= one["groups_dropped"] < 1.0 and one["groups_sampled"] >= 3.0 for one in values)
    sampled = sum(4 * one["groups_sampled"] for one in values)
    assert directory.read_result().meters.rollouts == sampled


@pytest.mark.parametrize(
    ("tokens", "punishment"), [(10, 0.0), (80, 0.0), (90, -0.5), (100, -1.0)], ids=["short", "edge", "half", "limit"]
)
def test_length_is_punished_in_the_last_part_of_the_limit(tokens: int, punishment: float) -> None:
    assert overlong(tokens, 100, 0.2) == pytest.approx(punishment)
    assert overlong(tokens, 100, 0.0) == 0.0


@pytest.mark.parametrize("method", [*GRADED, "rloo"])
def test_a_constant_reward_moves_no_weight_by_a_single_bit(method: str, runs: Path) -> None:
    settings: dict[str, Any] = {"beta": 0.0} if method == "rloo" else {}  # a KL term pulls also where no reward does
    spec = make_spec(method, steps=3, learning_rate=1e-2, **settings)
    result = run_to_end(RunSpec.model_validate(spec.model_dump() | {"control": "constant"}), runs).read_result()
    assert result.meters.steps == 3 and result.meters.rollouts > 0
    assert result.weights_digest == digest_of(load_model("lab").model().named_parameters())


def test_equal_rewards_that_no_float_can_hold_move_nothing_either(
    make_stage: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean of 0.1s is not 0.1 in every order of summation: a residue must not become a full step of Adam."""
    stage = make_stage("dr-grpo", group_size=7, prompts_per_step=2)
    real = stage.task.grade
    monkeypatch.setattr(stage.task, "grade", lambda item, text: replace(real(item, text), reward=0.1))
    trainer = trainer_of(stage)
    trainer.model.train()
    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    assert inputs["advantages"].abs().max() == 0.0


def test_a_walk_asks_every_prompt_once_a_pass(make_stage: Stages) -> None:
    stage = make_stage("reinforce")
    items = list(stage.train_items(12))
    sampler = Sampler(stage, items, lambda *_: [], 2, 1.0)
    batches = [walk(sampler, 4, number) for number in range(6)]
    assert all(batch[0::2] == batch[1::2] for batch in batches)
    first, second = ([index for batch in half for index in batch[::2]] for half in (batches[:3], batches[3:]))
    assert sorted(first) == sorted(second) == list(range(12)) and first != second
    assert len(walk(Sampler(stage, items[:3], lambda *_: [], 1, 1.0), 8, 0)) == 8


def test_off_policy_updates_take_the_rollouts_they_were_promised(runs: Path) -> None:
    """Two epochs over three minibatches: six updates from one batch of three updates' prompts."""
    directory = run_to_end(make_spec("gspo", steps=6, minibatches=3, epochs=2), runs)
    assert directory.read_result().meters.rollouts == 3 * 4 * 4
    one = run_to_end(make_spec("gspo", steps=6, minibatches=1), runs)
    assert one.read_result().meters.rollouts == 6 * 4 * 4


def test_on_policy_gspo_is_grpo_and_off_policy_it_is_not(runs: Path) -> None:
    def weights(method: str, **settings: int) -> dict[str, Any]:
        clip = {"epsilon": 3e-4, "epsilon_high": 4e-4}
        directory = run_to_end(make_spec(method, steps=2, learning_rate=1e-4, **clip, **settings), runs)
        return dict(load_model(str(directory.model)).model().named_parameters())

    def distance(one: dict[str, Any], other: dict[str, Any]) -> float:
        return max(float((one[name] - other[name]).detach().abs().max()) for name in one)

    assert distance(weights("gspo", minibatches=1), weights("grpo", minibatches=1)) < 1e-6
    assert distance(weights("gspo", minibatches=2), weights("grpo", minibatches=2)) > 1e-6
