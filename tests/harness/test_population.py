"""The population engine (oracles 5 to 7): side paths, the queue with refill, and what no member may see of another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from harness.contracts import Sampling
from harness.engines import layout as layout_module
from harness.engines.hf import HFEngine
from harness.engines.layout import Layout, LowRank
from harness.engines.population import PopulationEngine
from harness.engines.side_path import Members, members_of
from harness.models import load_model
from harness.policy import Policy, digest_of
from harness.registry import load_method, load_task

UNEVEN = [
    load_task("countdown", level=level).prompt(item)
    for level in ("L4", "L0", "L2")
    for item in load_task("countdown", level=level).items("val", 4)
]
GREEDY = Sampling(40, 0.0)


@pytest.fixture(scope="module")
def engine() -> HFEngine:
    handle = load_model("lab")
    return HFEngine(handle.model().eval(), handle.tokenizer())


def matrices(model: Any) -> dict[str, torch.Tensor]:
    return {name: t for name, t in model.named_parameters() if t.ndim == 2}


def thin(model: Any, count: int, pairs: int, rank: int, scale: float) -> Members:
    """Low-rank differences of every matrix, embedding and head included."""
    random = torch.Generator().manual_seed(5)
    return {
        name: LowRank(
            torch.randn(count // pairs, rank, t.shape[1], generator=random),
            scale * torch.randn(count // pairs, t.shape[0], rank, generator=random),
        )
        for name, t in matrices(model).items()
    }


def merged(model: Any, members: Members, place: int, count: int) -> Any:
    """A model of one member's own."""
    alone = load_model("lab").model().eval()
    with torch.no_grad():
        for name, tensor in alone.named_parameters():
            own = members.get(name)
            if isinstance(own, LowRank):
                tensor.add_(own.dense(count)[place])
            elif own is not None:
                tensor.copy_(own[place])
    return alone


@pytest.mark.parametrize(("pairs", "rank"), [(1, 1), (2, 1), (2, 3)])
def test_low_rank_members_are_their_merged_models(engine: HFEngine, pairs: int, rank: int) -> None:
    """Oracle 6: logits to 1e-4, greedy answers token by token, with mirrored pairs sharing their factors."""
    count = 4
    members = thin(engine.model, count, pairs, rank, 0.01)
    ids = torch.randint(5, 900, (2 * count, 9), generator=torch.Generator().manual_seed(0))
    before = digest_of(engine.model.named_parameters())
    with torch.no_grad(), members_of(engine.model, members, count):
        together = engine.model(ids).logits
    answers = PopulationEngine(engine.model, engine.tokenizer, rows=12).generate(members, count, UNEVEN, GREEDY, 0)
    assert digest_of(engine.model.named_parameters()) == before
    for place in range(count):
        alone = merged(engine.model, members, place, count)
        with torch.no_grad():
            own_logits = alone(ids[2 * place : 2 * place + 2]).logits
        torch.testing.assert_close(together[2 * place : 2 * place + 2], own_logits, atol=1e-4, rtol=1e-4)
        own = HFEngine(alone, engine.tokenizer).generate(UNEVEN, GREEDY, 0)
        assert [a.token_ids for a in answers[place]] == [a.token_ids for a in own]
    assert len({str([a.token_ids for a in one]) for one in answers}) == count, "members agree: nothing is proved"


@pytest.mark.parametrize("rows", [4, 5, 9, 20, 48])
def test_the_room_in_the_batch_does_not_count(engine: HFEngine, rows: int) -> None:
    """Oracles 6 and 7: refilled rows, uneven members and stragglers give the answers of one batch for all."""
    members = thin(engine.model, 4, 2, 1, 0.01)
    build = PopulationEngine
    whole = build(engine.model, engine.tokenizer, rows=1000).generate(members, 4, UNEVEN, GREEDY, 0)
    tight = build(engine.model, engine.tokenizer, rows=rows).generate(members, 4, UNEVEN, GREEDY, 0)
    for one, other in zip(whole, tight, strict=True):
        assert [a.token_ids for a in one] == [a.token_ids for a in other]
        for a, b in zip(one, other, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-3) and a.prompt_tokens == b.prompt_tokens


def test_sampling_is_by_prompt_and_not_by_place(engine: HFEngine) -> None:
    members = thin(engine.model, 2, 2, 1, 0.0)
    build = PopulationEngine
    one = build(engine.model, engine.tokenizer, rows=6).generate(members, 2, UNEVEN, Sampling(20, 1.0), 3)
    other = build(engine.model, engine.tokenizer, rows=100).generate(members, 2, UNEVEN, Sampling(20, 1.0), 3)
    plain = engine.generate(UNEVEN, Sampling(20, 1.0), 3)
    for answers in (*one, *other):
        assert [a.token_ids for a in answers] == [a.token_ids for a in plain]


def test_a_member_without_a_difference_gives_exactly_the_shared_logits(engine: HFEngine) -> None:
    """Oracle 6: sigma 0 is the base, bit for bit."""
    ids = torch.randint(5, 900, (4, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        base = engine.model(ids).logits
        with members_of(engine.model, thin(engine.model, 4, 2, 1, 0.0), 4):
            assert torch.equal(engine.model(ids).logits, base)


def test_two_members_with_one_prompt_keep_their_own_cache(engine: HFEngine) -> None:
    """Oracle 7: keys and values of the same prompt are each member's own."""
    members = thin(engine.model, 4, 1, 1, 0.02)
    answers = PopulationEngine(engine.model, engine.tokenizer, rows=8).generate(members, 4, UNEVEN[:1] * 3, GREEDY, 0)
    for place, one in enumerate(answers):
        own = HFEngine(merged(engine.model, members, place, 4), engine.tokenizer).generate(UNEVEN[:1], GREEDY, 0)
        assert all(a.token_ids == own[0].token_ids for a in one)
    assert len({tuple(one[0].token_ids) for one in answers}) > 1


def llama(tokenizer: Any) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id, initializer_range=0.2, tie_word_embeddings=True,
        )  # fmt: skip
        return LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("own", ["dense", "thin"])
def test_another_architecture(engine: HFEngine, own: str) -> None:
    """A tied Llama with grouped keys: every tensor searched, embedding and head the same one."""
    model = llama(engine.tokenizer)
    random = torch.Generator().manual_seed(1)
    members: Members = {
        name: torch.stack([t.detach() + 0.05 * torch.randn(t.shape, generator=random) for _ in range(3)])
        for name, t in model.named_parameters()
    }
    if own == "thin":
        members |= thin(model, 3, 1, 2, 0.05)
    answers = PopulationEngine(model, engine.tokenizer, rows=9).generate(members, 3, UNEVEN[:6], Sampling(12, 0.0), 0)
    for place in range(3):
        alone = llama(engine.tokenizer)
        with torch.no_grad():
            for name, tensor in alone.named_parameters():
                mine = members[name]
                tensor.copy_(tensor + mine.dense(3)[place] if isinstance(mine, LowRank) else mine[place])
        plain = HFEngine(alone, engine.tokenizer).generate(UNEVEN[:6], Sampling(12, 0.0), 0)
        assert [a.token_ids for a in answers[place]] == [a.token_ids for a in plain]


@pytest.mark.parametrize("searched", ["lora_A", "lora_B"])
def test_lora_layers_share_what_is_not_searched(engine: HFEngine, searched: str) -> None:
    """One factor searched, the other shared: the logits of a model that holds each member's factor."""
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = get_peft_model(load_model("lab").model(), LoraConfig(r=2, lora_alpha=4, target_modules="all-linear"))
    model.eval()
    random = torch.Generator().manual_seed(2)
    members: Members = {
        name: 0.05 * torch.randn(3, *t.shape, generator=random)
        for name, t in model.named_parameters()
        if searched in name
    }
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "lora_B" in name:
                tensor.normal_(std=0.1, generator=random)
    ids = torch.randint(5, 900, (6, 9), generator=random)
    with torch.no_grad():
        with members_of(model, members, 3):
            together = model(ids).logits
        for place in range(3):
            for name, tensor in model.named_parameters():
                if name in members:
                    tensor.copy_(members[name][place])  # type: ignore[index]
            alone = model(ids[2 * place : 2 * place + 2]).logits
            torch.testing.assert_close(together[2 * place : 2 * place + 2], alone, atol=1e-4, rtol=1e-4)


def test_products_of_uneven_rows() -> None:
    """Members with 3, 0, 1 and 2 rows; later only one of them left: each row times its own matrix."""
    random = torch.Generator().manual_seed(0)
    bank = torch.randn(4, 5, 3, generator=random)
    layout = Layout(4, torch.device("cpu"))
    for member in ([0, 0, 0, 2, 3, 3], [3, 3], [3], [0, 1, 2, 3], [1, 1, 1]):
        rows = torch.tensor(member)
        layout.arrange(rows)
        inputs = torch.randn(len(rows), 2, 5, generator=random)
        torch.testing.assert_close(layout.product(inputs, bank), torch.einsum("rti,rio->rto", inputs, bank[rows]))
        low = LowRank(torch.randn(2, 2, 5, generator=random), torch.randn(2, 3, 2, generator=random))
        outputs = torch.zeros(len(rows), 2, 3)
        layout.add_low_rank(outputs, inputs, low)
        expected = torch.einsum("rti,roi->rto", inputs, low.dense(4)[rows])
        torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("rank", "built"), [(1, False), (2, False), (40, True)])
def test_a_rank_above_the_matrix_is_built_and_gives_the_same(
    rank: int, built: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two products a row, or the matrix and one: whichever is fewer operations, to the same rows and gradients."""
    random = torch.Generator().manual_seed(0)
    layout = Layout(3, torch.device("cpu"))
    layout.arrange(torch.tensor([0, 0, 1, 2, 2]))
    inputs = torch.randn(5, 4, 6, generator=random)
    down, up = torch.randn(3, rank, 6, generator=random), torch.randn(3, 5, rank, generator=random)
    found, made = [], []
    for chosen in (layout_module._built_is_less, lambda grid, low: not built):
        monkeypatch.setattr(layout_module, "_built_is_less", chosen)
        low = LowRank(down.clone().requires_grad_(), up.clone().requires_grad_())
        made.append(chosen(torch.empty(3, 8, 6), low))
        outputs = torch.zeros(5, 4, 5)
        layout.add_low_rank(outputs, inputs, low)
        outputs.square().sum().backward()
        found.append((outputs.detach(), low.down.grad, low.up.grad))
    assert made == [built, not built]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(("part", "batched"), [("dora", True), ("ia3", True), ("kron-lora", True), ("prompt", False)])
def test_adapters_of_other_kinds_are_mapped_or_taken_in_turn(engine: HFEngine, part: str, batched: bool) -> None:
    """One batch for all members where the layer can be mapped; what cannot be says so before it is tried."""
    handle = load_model("lab")
    stage = load_method(f"{part}+es").stages[0]
    policy = stage.parameterisation.attach(Policy(handle.model().eval(), engine.tokenizer, handle.path), 0)  # type: ignore[union-attr]
    policy.model.eval()
    random = torch.Generator().manual_seed(0)
    members: Members = {
        name: torch.stack([t.detach() + 0.3 * torch.randn(t.shape, generator=random) for _ in range(3)])
        for name, t in policy.tensors().items()
    }
    assert (PopulationEngine(policy.model, engine.tokenizer).group_size(1, members, 4) > 1) == batched
    before = digest_of(policy.model.named_parameters())
    alone = []
    for place in range(3):
        with members_of(policy.model, {name: own[place : place + 1] for name, own in members.items()}, 1):  # type: ignore[index]
            alone.append(HFEngine(policy.model, engine.tokenizer).generate(UNEVEN[:5], Sampling(12, 0.0), 0))
    assert [a.token_ids for a in alone[0]] != [a.token_ids for a in alone[1]]
    if batched:
        population = PopulationEngine(policy.model, engine.tokenizer, rows=7)
        together = population.generate(members, 3, UNEVEN[:5], Sampling(12, 0.0), 0)
        assert [[a.token_ids for a in one] for one in together] == [[a.token_ids for a in one] for one in alone]
    assert digest_of(policy.model.named_parameters()) == before
