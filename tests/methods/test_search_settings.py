"""Settings of the evolution strategy in real stages: decay to the start, alternating factors, mirrored pairs, the sigma
probe, and what is refused (oracles 4, 8, 16, 17 and 27)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from harness.context import StageContext
from harness.contracts import Item
from harness.errors import UserError
from harness.policy import digest_of
from methods.optimisers.evolution import evolution
from methods.optimisers.perturbation import Perturbation

Stages = Callable[..., StageContext]


class Scripted:
    """Scores members by `of(member)`; remembers the weights at the beginning of every iteration."""

    name, gives, needs = "scripted", frozenset({"fitness"}), frozenset()

    def __init__(self, of: Callable[[int], float], members: int) -> None:
        self.of, self.members, self.calls = of, members, 0

    def batch(self, stage: StageContext, iteration: int) -> Sequence[Item]:
        return stage.task.items("train", 1)

    def score(self, stage: StageContext, item: Item, completion: str) -> float:
        self.calls += 1
        return self.of((self.calls - 1) % self.members)


def parameters(stage: StageContext) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().float().clone() for name, tensor in stage.policy.tensors().items()}


def events(stage: StageContext, kind: str) -> list[dict]:
    rows = [json.loads(line) for line in stage.run.directory.events.read_text().splitlines()]
    return [row for row in rows if row["kind"] == kind]


@pytest.mark.parametrize("kind", ["gaussian", "low-rank"])
def test_an_even_reward_moves_nothing(make_stage: Stages, kind: str) -> None:
    """Oracle 4: mirror images that score the same cancel exactly, whatever the pairs score."""
    stage = make_stage("es", steps=2)
    before = digest_of(stage.policy.model.named_parameters())
    evolution(0.02, 0.5, 4, kind=kind, mirrored=True).fit(
        stage, Scripted(lambda member: [3.0, 3.0, 1.0, 1.0][member], 4)
    )
    assert stage.step == 2 and digest_of(stage.policy.model.named_parameters()) == before
    assert all(row["values"]["identical_pairs"] == 1.0 for row in events(stage, "metrics"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_decay_to_where_they_started(dtype: torch.dtype) -> None:
    """Oracle 17: |theta - theta_0| settles at step / sqrt(1 - (1 - alpha lambda)^2); the 3B example's ratio is 0.444.

    Through the float32 master also where the model itself is served in bfloat16.
    """
    alpha, anchor, members, steps = 5e-4, 10.0, 30, 500
    shapes = {"w": torch.Size([40, 50])}
    start = {"w": (0.02 * torch.randn(40, 50, generator=torch.Generator().manual_seed(0))).to(dtype).float()}
    ends = {}
    for strength in (0.0, anchor):
        strategy = evolution(1e-3, alpha, members, anchor=strength)
        search = Perturbation(1, shapes, members)
        master, rng = {"w": start["w"].clone()}, np.random.default_rng(0)
        for iteration in range(steps):
            search.begin(iteration)
            weights = rng.normal(size=members)
            weights = (weights - weights.mean()) / weights.std()
            strategy.advance(search, master, start, ["w"], weights, alpha)
        ends[strength] = float((master["w"] - start["w"]).norm())
    step = alpha * np.sqrt(2000 / members)
    assert ends[0.0] == pytest.approx(step * np.sqrt(steps), rel=0.03)
    decay = 1 - alpha * anchor
    expected = step * np.sqrt((1 - decay ** (2 * steps)) / (1 - decay**2))
    assert ends[anchor] == pytest.approx(expected, rel=0.05)
    assert ends[anchor] / ends[0.0] == pytest.approx(0.444, abs=0.02)


def test_a_decay_is_part_of_a_real_run(make_stage: Stages) -> None:
    stage = make_stage("es", steps=3)
    start = parameters(stage)
    evolution(0.02, 0.1, 2, anchor=10.0).fit(stage, Scripted(float, 2))  # alpha * anchor = 1: nothing of the past stays
    moved = torch.cat([(tensor - start[name]).flatten() for name, tensor in parameters(stage).items()])
    last = events(stage, "metrics")[-1]["values"]["update_norm"]
    assert float(moved.norm()) == pytest.approx(last, rel=1e-4)


def test_factors_are_searched_in_turn(make_stage: Stages) -> None:
    """Oracle 27: B moves in even iterations and A in odd ones; the other factor stays bit for bit."""
    stage = make_stage("lora-es", steps=1)
    strategy = evolution(0.05, 0.1, 4, alternate=("lora_B", "lora_A"))
    for step, part in enumerate(("lora_B", "lora_A")):
        before = parameters(stage)
        stage.run.meters.values["steps"] = 0
        strategy.fit(stage, Scripted(float, 4))
        assert stage.step == step + 1
        for name, tensor in parameters(stage).items():
            assert torch.equal(tensor, before[name]) == (part not in name), name


def test_one_factor_is_linear_in_sigma_and_two_are_not(make_stage: Stages) -> None:
    """Oracle 27: what B alone changes in a layer doubles with sigma; both together have a sigma^2 term."""
    stage = make_stage("lora-es", steps=1)
    with torch.no_grad():
        for name, tensor in stage.policy.tensors().items():
            if "lora_B" in name:
                tensor.normal_(generator=torch.Generator().manual_seed(1))
    master = parameters(stage)
    down, up = list(master)[:2]
    assert "lora_A" in down and "lora_B" in up
    strategy = evolution(1.0, 0.1, 2)
    search = strategy.search(stage, master)

    def product(sigma: float, both: bool) -> torch.Tensor:
        own = search.members({n: master[n] for n in ((down, up) if both else (up,))}, sigma, [0], master)
        return own[up][0] @ (own[down][0] if both else master[down]) - master[up] @ master[down]  # type: ignore[index]

    torch.testing.assert_close(product(0.2, False), 2 * product(0.1, False), rtol=1e-4, atol=1e-5)
    cross = product(0.2, True) - 2 * product(0.1, True)
    assert float(cross.norm()) > 0.01 * float(product(0.2, True).norm())


def test_the_probe_finds_a_sigma_at_which_some_answers_change(make_stage: Stages) -> None:
    """From a sigma that changes nothing and from one that breaks everything; what it costs is charged and recorded."""
    found = []
    for seed, sigma in enumerate((1e-5, 10.0)):
        stage = make_stage("es", steps=1, seed=seed)
        evolution(sigma, sigma, 2, probe=True).fit(stage, Scripted(float, 2))
        (event,) = events(stage, "sigma_probe")
        tried = dict(map(tuple, event["tried"]))
        found.append((event["sigma"], tried[event["sigma"]]))
        (record,) = [json.loads(line) for line in stage.run.directory.replay.read_text().splitlines()]
        assert record["sigma"] == event["sigma"] == pytest.approx(record["alpha"])
        assert stage.run.meters.read().rollouts > 2
    assert all(0.2 <= share <= 0.8 for _, share in found)
    assert 1e-4 < found[0][0] < 1 and 1e-4 < found[1][0] < 1


def test_what_the_probe_finds_may_not_overshoot_the_anchor(make_stage: Stages) -> None:
    """alpha grows with sigma: what would be refused when it is asked for is refused when it is found."""
    strategy = evolution(1e-5, 1e-5, 2, probe=True, anchor=1e4)
    with pytest.raises(UserError, match=r"The probe found sigma .* lower anchor"):
        strategy.fit(make_stage("es", steps=1), Scripted(float, 2))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"population": 5, "mirrored": True}, "even population"),
        ({"population": 4, "shaping": "pair-sign"}, "mirrored"),
        ({"population": 4, "anchor": 100.0}, "overshoot"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict, sentence: str) -> None:
    population = settings.pop("population")
    with pytest.raises(UserError, match=sentence):
        evolution(0.1, 0.1, population, **settings)


def test_alternating_between_parts_that_are_not_there_is_refused(make_stage: Stages) -> None:
    with pytest.raises(UserError, match="lora_B"):
        evolution(0.1, 0.1, 2, alternate=("lora_B",)).fit(make_stage("es", steps=1), Scripted(float, 2))
