"""Known answers for evolution strategies, on a model small enough to follow every number.

The model is a randomly drawn Qwen2 of one layer and 16 dimensions with the lab model's tokenizer. Rewards are functions
of the answers it really gives, or of the weights of the member that is being scored. Numbers of oracles are those of
the list of known answers for evolution strategies that the tests of noise, engine, shaping and replay share.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats
from transformers import Qwen2Config, Qwen2ForCausalLM

from harness.context import StageContext
from harness.contracts import Item
from harness.engines.population import PopulationEngine
from harness.events import EventLog
from harness.meters import MeterBank
from harness.models import load_model
from harness.policy import Policy, digest_of
from harness.registry import load_task
from harness.run_context import RunContext
from harness.spec import EvaluationProtocol
from methods.objectives.task_reward import task_reward
from methods.optimisers.evolution import EvolutionStrategy, evolution, noise, shaped
from methods.parameterisations.full import full
from tests.conftest import make_spec, place

Tiny = Callable[..., StageContext]
PROTOCOL = EvaluationProtocol(split="val", items=6, max_new_tokens=6, curve_points=0)


@pytest.fixture
def tiny(runs: Path) -> Tiny:
    """`tiny(steps, seed=0, dtype=float32)`: a stage of `es` on the one-layer model, in a folder of its own."""
    numbers = itertools.count()

    def make(steps: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> StageContext:
        spec = make_spec("es", steps=steps, seed=seed, evaluation=PROTOCOL)
        directory = place(spec, runs / str(next(numbers)))
        handle = load_model("lab")
        tokenizer = handle.tokenizer()
        config = Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            initializer_range=0.2,
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = Qwen2ForCausalLM(config).to(dtype).eval()
        task = load_task(spec.task.name, **spec.task.parameters)
        run = RunContext(spec, directory, task, MeterBank(), EventLog(directory.events))
        return StageContext(run, 0, full().attach(Policy(model, tokenizer, handle.path), 0))

    return make


class Reward:
    """A fitness of two training items an iteration; remembers every score in the order given."""

    name, gives, needs = "reward", frozenset({"fitness"}), frozenset()

    def __init__(self, of: Callable[[StageContext, int, str], float], members: int) -> None:
        self.of, self.members, self.scores = of, members, list[float]()

    def batch(self, stage: StageContext, iteration: int) -> Sequence[Item]:
        return stage.task.items("train", 2)

    def score(self, stage: StageContext, item: Item, completion: str) -> float:
        member = len(self.scores) // 2 % self.members
        self.scores.append(self.of(stage, member, completion))
        return self.scores[-1]

    @property
    def fitness(self) -> np.ndarray:
        """Mean score [generations, members]."""
        return np.array(self.scores).reshape(-1, self.members, 2).mean(-1)


def of_text(stage: StageContext, member: int, completion: str) -> float:
    """A number that nearly every answer has for itself."""
    return sum(map(ord, completion)) % 97 / 97


def random_of(seed: int) -> Callable[[StageContext, int, str], float]:
    rng = np.random.default_rng(seed)
    return lambda stage, member, completion: float(rng.random())


def copies(stage: StageContext) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().float().clone() for name, tensor in stage.policy.tensors().items()}


def flat(tensors: dict[str, torch.Tensor]) -> np.ndarray:
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)]).double().numpy()


def flat_noise(stage: StageContext, member: int, step: int) -> np.ndarray:
    now, stage.step = stage.step, step
    drawn = {name: noise(stage, member, name, tensor.shape) for name, tensor in stage.policy.tensors().items()}
    stage.step = now
    return flat(drawn)


def noise_of_members(stage: StageContext, members: list[int]) -> dict[str, torch.Tensor]:
    """What the members that are evaluated differ by from the master, in units of sigma."""
    master = copies(stage)
    search = evolution(sigma=1.0, alpha=0.1, population=8).search(stage, master)
    search.begin(stage.step)
    stacked = search.members(master, 1.0, members, master)
    return {name: stacked[name] - master[name] for name in master}


def test_several_generations_are_the_written_out_rule(tiny: Tiny) -> None:
    """Oracle 14: theta + alpha / N sum_n z_n eps_n in NumPy, from the rewards that the real answers got."""
    members, alpha = 5, 0.05
    stage = tiny(steps=4)
    theta = flat(copies(stage))
    reward = Reward(of_text, members)
    evolution(sigma=0.1, alpha=alpha, population=members).fit(stage, reward)
    assert reward.fitness.shape == (4, members)
    for step, fitness in enumerate(reward.fitness):
        assert len(set(fitness)) > 1, "all rewards are equal: nothing moves"
        z = (fitness - fitness.mean()) / fitness.std()
        theta = theta + alpha / members * sum(z[n] * flat_noise(stage, n, step) for n in range(members))
    np.testing.assert_allclose(flat(copies(stage)), theta, rtol=0, atol=2e-6)


def test_members_that_are_scored_are_members_that_count(tiny: Tiny) -> None:
    """Oracle 14: The noise in a member's weights is the noise that the update adds for it."""
    stage = tiny(steps=1)
    stage.step = 3
    drawn = noise_of_members(stage, [1, 4])
    for row, member in enumerate([1, 4]):
        found = flat({name: tensor[row] for name, tensor in drawn.items()})
        np.testing.assert_allclose(found, flat_noise(stage, member, 3), atol=1e-6)


def test_a_member_is_the_same_in_any_group(tiny: Tiny) -> None:
    """Oracle 1."""
    stage = tiny(steps=1)
    together, backwards, alone = (noise_of_members(stage, group) for group in ([0, 1, 2], [2, 1, 0], [2]))
    for name in together:
        assert torch.equal(together[name][2], alone[name][0]) and torch.equal(backwards[name][0], alone[name][0])


def test_noise_is_the_same_in_another_process(tiny: Tiny) -> None:
    """Oracle 1."""
    stage = tiny(steps=1)
    program = (
        "import json; from harness.noise import Noise; from harness.streams import stream; "
        "n = Noise(stream(0, 'stage-0', 'perturbation'), ['b', 'a']); n.normal(3, 1, 'b', (7,)); "
        "print(json.dumps(n.normal(0, 2, 'a', (5,)).tolist()))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2"}
    answer = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert noise(stage, 2, "a", torch.Size([5])).tolist() == json.loads(answer.stdout)


def test_noise_has_the_moments_of_a_standard_normal(tiny: Tiny) -> None:
    """Oracle 3."""
    stage = tiny(steps=1)
    drawn = np.concatenate([flat_noise(stage, member, step) for member in range(4) for step in range(4)])
    n = len(drawn)
    assert n > 200_000
    assert abs(drawn.mean()) < 4 / np.sqrt(n)
    assert abs(drawn.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs(stats.skew(drawn)) < 4 * np.sqrt(6 / n)
    assert abs(stats.kurtosis(drawn)) < 4 * np.sqrt(24 / n)


def test_every_tensor_member_step_and_seed_has_noise_of_its_own(tiny: Tiny) -> None:
    """Oracle 2: Also tensors of one shape, which the published code gives the same noise."""
    stage, neighbour = tiny(steps=1), tiny(steps=1, seed=1)
    base = flat_noise(stage, 0, 0)
    for other in (flat_noise(stage, 1, 0), flat_noise(stage, 0, 1), flat_noise(neighbour, 0, 0)):
        assert abs(np.corrcoef(base, other)[0, 1]) < 4 / np.sqrt(len(base))
    tensors = stage.policy.tensors()
    shapes: dict[torch.Size, list[str]] = {}
    for name, tensor in tensors.items():
        shapes.setdefault(tensor.shape, []).append(name)
    alike = [names for names in shapes.values() if len(names) > 1]
    assert alike
    for names in alike:
        first, second = (noise(stage, 0, name, tensors[name].shape) for name in names[:2])
        assert not torch.equal(first, second)
        if first.numel() > 64:
            correlation = np.corrcoef(first.flatten().numpy(), second.flatten().numpy())[0, 1]
            assert abs(correlation) < 4 / np.sqrt(first.numel())


def test_a_tied_tensor_is_disturbed_once_and_buffers_never(tiny: Tiny) -> None:
    """Oracle 3."""
    stage = tiny(steps=1)
    model = stage.policy.model
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert [name for name in stage.policy.tensors() if "embed" in name or "lm_head" in name] == [
        "model.embed_tokens.weight"
    ]
    evolution(sigma=0.1, alpha=0.1, population=3).fit(stage, Reward(of_text, 3))
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [0.0, 0.06, 0.1, 1 / 3, -2.0])
def test_equal_rewards_move_nothing_in_any_precision(tiny: Tiny, dtype: torch.dtype, value: float) -> None:
    """Oracles 5, 8."""
    stage = tiny(steps=2, dtype=dtype)
    before = digest_of(stage.policy.model.named_parameters())
    evolution(sigma=0.1, alpha=1.0, population=3).fit(stage, Reward(lambda *_: value, 3))
    assert stage.step == 2
    assert digest_of(stage.policy.model.named_parameters()) == before


def test_two_members_move_by_the_difference_of_their_noise(tiny: Tiny) -> None:
    """Oracle 10: With two members z is -1 and 1, however small the gap between their rewards."""
    for gap in (1e-6, 1.0):
        stage = tiny(steps=1)
        before = flat(copies(stage))
        evolution(sigma=0.1, alpha=0.2, population=2).fit(stage, Reward(lambda _, member, __, g=gap: g * member, 2))
        expected = 0.2 / 2 * (flat_noise(stage, 1, 0) - flat_noise(stage, 0, 0))
        np.testing.assert_allclose(flat(copies(stage)) - before, expected, atol=1e-6)


@pytest.mark.parametrize(("scale", "shift"), [(100.0, 0.0), (1e-3, 5.0), (1.0, -7.0)])
def test_units_of_the_reward_do_not_count(tiny: Tiny, scale: float, shift: float) -> None:
    """Oracle 9: R and a R + b, with a > 0, give the same weights; -R moves the other way."""
    plain, other, against = tiny(steps=2), tiny(steps=2), tiny(steps=1)
    start = flat(copies(plain))
    strategy = evolution(sigma=0.1, alpha=0.1, population=4)
    strategy.fit(plain, Reward(of_text, 4))
    strategy.fit(other, Reward(lambda *a: scale * of_text(*a) + shift, 4))
    np.testing.assert_allclose(flat(copies(other)), flat(copies(plain)), atol=1e-6)
    first = tiny(steps=1)
    strategy.fit(first, Reward(of_text, 4))
    strategy.fit(against, Reward(lambda *a: -of_text(*a), 4))
    np.testing.assert_allclose(flat(copies(against)) - start, start - flat(copies(first)), atol=1e-6)


def test_the_size_of_a_group_does_not_count(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle 9: One member at a time, two, or all five in one batch: the same rewards and the same weights."""
    ends, rewards = [], []
    for size in (1, 2, 5):
        monkeypatch.setattr(PopulationEngine, "group_size", lambda self, *_, size=size: size)
        stage, reward = tiny(steps=2), Reward(of_text, 5)
        evolution(sigma=0.1, alpha=0.1, population=5).fit(stage, reward)
        ends.append(digest_of(stage.policy.model.named_parameters()))
        rewards.append(reward.scores)
    assert rewards[0] == rewards[1] == rewards[2]
    assert len(set(ends)) == 1


@pytest.mark.parametrize("rank", [1, 3])
def test_a_mirrored_pair_of_low_rank_keeps_its_signs_one_by_one(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    """Where one member is all that fits, the mirror image is still one, and a step still moves the weights."""
    ends, rewards = [], []
    for size in (1, 2, 4):
        monkeypatch.setattr(PopulationEngine, "group_size", lambda self, *_, size=size: size)
        stage, reward = tiny(steps=2), Reward(of_text, 4)
        before = digest_of(stage.policy.model.named_parameters())
        evolution(sigma=0.1, alpha=0.1, population=4, kind="low-rank", rank=rank, mirrored=True).fit(stage, reward)
        ends.append(digest_of(stage.policy.model.named_parameters()))
        rewards.append(reward.scores)
        assert ends[-1] != before
    assert rewards[0] == rewards[1] == rewards[2]
    assert len(set(ends)) == 1


def _weights_of(stage: StageContext, strategy: EvolutionStrategy, member: int, name: str) -> torch.Tensor:
    tensor = stage.policy.tensors()[name].detach().float()
    return tensor + strategy.sigma * noise(stage, member, name, tensor.shape)


def test_a_linear_reward_is_climbed_at_the_known_speed(tiny: Tiny) -> None:
    """Oracle 12: along the gradient g a step is alpha times the spread of the members, on average alpha c_N."""
    members, alpha, rounds, name = 8, 0.01, 150, "model.layers.0.mlp.gate_proj.weight"
    stage = tiny(steps=rounds)
    strategy = evolution(sigma=0.05, alpha=alpha, population=members)
    shape = stage.policy.tensors()[name].shape
    direction = torch.randn(shape, generator=torch.Generator().manual_seed(3)).double()
    direction /= direction.norm()
    before = copies(stage)[name].double()

    def linear(stage: StageContext, member: int, completion: str) -> float:
        return float((_weights_of(stage, strategy, member, name).double() * direction).sum())

    reward = Reward(linear, members)
    strategy.fit(stage, reward)
    climbed = float(((copies(stage)[name].double() - before) * direction).sum())
    assert climbed == pytest.approx(alpha * reward.fitness.std(axis=1).sum() / strategy.sigma, rel=1e-3)
    c_n = np.sqrt(2 / members) * np.exp(special.gammaln(members / 2) - special.gammaln((members - 1) / 2))
    assert climbed / (alpha * rounds) == pytest.approx(c_n, abs=4 * 0.25 / np.sqrt(rounds))


def test_a_quadratic_is_descended(tiny: Tiny) -> None:
    """Oracle 18: R = -|theta - target|^2 over one tensor: the distance falls to a tenth."""
    name = "model.layers.0.self_attn.q_proj.bias"
    stage = tiny(steps=150)
    strategy = evolution(sigma=0.02, alpha=0.05, population=16)
    target = torch.linspace(-1, 1, stage.policy.tensors()[name].numel())

    def closeness(stage: StageContext, member: int, completion: str) -> float:
        return -float((_weights_of(stage, strategy, member, name) - target).square().sum())

    start = float((copies(stage)[name] - target).norm())
    strategy.fit(stage, Reward(closeness, 16))
    assert float((copies(stage)[name] - target).norm()) < 0.1 * start


def test_a_bandit_is_won(tiny: Tiny) -> None:
    """Oracle 18: One more for every letter of an answer that is the wanted one: nearly all of them in the end."""
    stage = tiny(steps=60)
    tokenizer = stage.policy.tokenizer
    wanted = tokenizer.decode(tokenizer("7").input_ids[-1:])

    def share(stage: StageContext, member: int, completion: str) -> float:
        return completion.count(wanted) / 6

    reward = Reward(share, 24)
    evolution(sigma=0.1, alpha=0.2, population=24).fit(stage, reward)
    assert reward.fitness[0].mean() < 0.2  # before anything is learnt
    assert reward.fitness[-3:].mean() > 0.8


def test_without_a_signal_the_weights_walk_at_random(tiny: Tiny) -> None:
    """Oracle 13: |theta_T - theta_0| = alpha sqrt(d T / N), within two per cent."""
    members, alpha, steps = 6, 0.01, 12
    stage = tiny(steps=steps)
    before = flat(copies(stage))
    evolution(sigma=0.02, alpha=alpha, population=members).fit(stage, Reward(random_of(0), members))
    moved = np.linalg.norm(flat(copies(stage)) - before)
    assert moved == pytest.approx(alpha * np.sqrt(len(before) * steps / members), rel=0.02)


def test_exactly_as_many_updates_as_the_budget_has(tiny: Tiny) -> None:
    """Oracle 22."""
    for steps in (0, 1, 3):
        stage, reward = tiny(steps=steps), Reward(of_text, 3)
        before = digest_of(stage.policy.model.named_parameters())
        evolution(sigma=0.1, alpha=0.1, population=3).fit(stage, reward)
        assert stage.step == steps and len(reward.scores) == steps * 3 * 2
        assert (digest_of(stage.policy.model.named_parameters()) == before) == (steps == 0)


def test_every_answer_of_every_member_is_charged(tiny: Tiny) -> None:
    stage = tiny(steps=3)
    evolution(sigma=0.1, alpha=0.1, population=4).fit(stage, Reward(of_text, 4))
    meters = stage.run.meters.read()
    assert (meters.steps, meters.rollouts, meters.trained_tokens) == (3, 3 * 4 * 2, 0)
    assert meters.rollouts <= meters.generated_tokens <= 6 * meters.rollouts
    tokens = meters.generated_tokens + meters.prompt_tokens
    assert meters.flops == pytest.approx(2 * stage.policy.compute_parameters * tokens)


def test_what_is_logged_is_what_was_scored(tiny: Tiny) -> None:
    stage, reward = tiny(steps=2), Reward(of_text, 4)
    before = flat(copies(stage))
    evolution(sigma=0.1, alpha=0.1, population=4).fit(stage, reward)
    rows = [json.loads(line) for line in stage.run.directory.events.read_text().splitlines()]
    logged = [row["values"] for row in rows if row.get("kind", row.get("event")) == "metrics"]
    assert len(logged) == 2
    for row, fitness in zip(logged, reward.fitness, strict=True):
        assert row["reward"] == pytest.approx(fitness.mean()) and row["reward_max"] == pytest.approx(fitness.max())
        assert row["reward_std"] == pytest.approx(fitness.std()) and 0 <= row["truncated"] <= 1
    assert logged[0]["update_norm"] > 0
    assert np.linalg.norm(flat(copies(stage)) - before) <= sum(row["update_norm"] for row in logged) + 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_resumed_search_keeps_its_float32_master(tiny: Tiny, dtype: torch.dtype) -> None:
    """Oracles 16, 20: Stopped after two of four updates, each below the precision of the model's own weights."""
    strategy = evolution(sigma=0.1, alpha=1e-3, population=4)
    whole = tiny(steps=4, dtype=dtype)
    strategy.fit(whole, Reward(of_text, 4))
    first = tiny(steps=4, dtype=dtype)
    first.run.checkpoint_seconds = 0.0

    class Stop(Exception):
        pass

    def stop_at_the_third(stage: StageContext, member: int, completion: str) -> float:
        if stage.step == 2:
            raise Stop
        return of_text(stage, member, completion)

    with pytest.raises(Stop):
        strategy.fit(first, Reward(stop_at_the_third, 4))
    second = tiny(steps=4, dtype=dtype)
    second.step, second.resume_from = 2, first.folder / "checkpoint-2"
    second.run.meters.count(steps=2)
    assert second.resume_from.is_dir()
    strategy.fit(second, Reward(of_text, 4))
    assert second.step == 4
    assert digest_of(second.policy.model.named_parameters()) == digest_of(whole.policy.model.named_parameters())


@pytest.mark.parametrize(("prompts", "examples"), [(4, 12), (5, 12), (12, 12), (50, 12)])
def test_every_training_item_is_asked_once_a_pass(tiny: Tiny, prompts: int, examples: int) -> None:
    """A shuffled walk, reshuffled every pass, that follows from the iteration alone."""
    stage, objective = tiny(steps=1), task_reward(prompts, examples)
    size = min(prompts, examples)
    asked: list[Any] = []
    while len(asked) < 3 * 60:
        asked += [item.id for item in objective.batch(stage, len(asked) // size)]
    known = {item.id for item in stage.task.items("train", examples)}
    passes = [asked[i : i + examples] for i in range(0, 3 * examples, examples)]
    assert all(set(one) == known and len(one) == len(known) for one in passes)
    assert passes[0] != passes[1] != passes[2]
    again = [item.id for item in objective.batch(stage, 3)]
    assert again == asked[3 * size : 4 * size]
    assert [i.id for i in objective.batch(tiny(steps=1, seed=1), 0)] != asked[:size]


@pytest.mark.parametrize("rewards", [[0.1, 0.2, 0.3], [0.1, 1.0, 0.1, 0.0, 0.1], [1.1, 0.06, 0.05, 0.1]])
def test_equal_rewards_in_another_order_are_equal(rewards: list[float]) -> None:
    """Oracle 8: The same scores on other questions: sums differ by a rounding error, which is no signal."""
    orders = list(itertools.permutations(rewards))
    means = np.array(orders).mean(axis=1)
    assert not shaped(means).any()
    assert shaped(means + np.where(np.arange(len(means)) == 0, 1e-6, 0.0)).any()
