"""MoA: counts, gates that saturate, what Sparse computes, and how its threshold learns."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.adapters import open_adapter
from harness.contracts import Resources
from harness.models import load_model
from harness.parts import load_parameterisation
from harness.policy import Policy
from harness.training import Training
from harness.worker import FAILED, work
from methods.tuners.experts import Router
from tests.conftest import make_spec, place

IDS = torch.arange(3, 35).view(2, 16)
QUICK = {"rank": 2, "width": 4, "router_width": 2}


def attached(name: str = "moa", seed: int = 0, noise: float = 0.1, **settings: Any) -> Any:
    """The lab model with mixtures whose experts all do something."""
    handle = load_model("lab")
    policy = Policy(handle.model().eval(), handle.tokenizer(), handle.path)
    model = load_parameterisation(name, **{**QUICK, **settings}).attach(policy, seed).model
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor_name, tensor in model.named_parameters():
            if tensor.requires_grad and not any(part in tensor_name for part in ("router", "threshold")):
                tensor.add_(torch.randn_like(tensor) * noise)
    return model.eval()


def layers(model: Any) -> list[Any]:
    return [module for module in model.modules() if type(module).__name__ == "MoaLayer"]


def mixtures(model: Any) -> list[Any]:
    return [layer.moa_mixture["default"] for layer in layers(model)]


def set_gates(model: Any, values: dict[str, float] | float) -> None:
    """Constant logits for the gates: the router's matrix is zero, its bias is what is wanted."""
    for mixture in mixtures(model):
        with torch.no_grad():
            mixture.router.out.weight.zero_()
            for index, name in enumerate(mixture.order):
                mixture.router.out.bias[index] = values if isinstance(values, float) else values.get(name, -40.0)


def base_logits() -> torch.Tensor:
    return load_model("lab").model().eval()(IDS).logits


def test_parameters_are_those_of_the_published_code() -> None:
    """LLaMA-3.1-8B: 24,520,288 soft, 18,089,696 with a linear router, 22,289,120 sparse; on a model without weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=64, hidden_size=4096, intermediate_size=14336, num_hidden_layers=1, num_attention_heads=32,
        num_key_value_heads=8,
    )  # fmt: skip

    def count(name: str, **settings: Any) -> int:
        from peft import get_peft_model

        with torch.device("meta"):
            model = LlamaForCausalLM(config)
            made = get_peft_model(model, load_parameterisation(name, **settings).configuration(model))
        return 32 * sum(p.numel() for p in made.parameters() if p.requires_grad)

    assert count("moa") == 24_520_288
    assert count("moa", router_width=0) == 18_089_696
    assert count("moa-sparse") == 22_289_120


def test_gates_are_in_the_documented_order_and_begin_at_a_half() -> None:
    soft, sparse = mixtures(attached())[0], mixtures(attached("moa-sparse"))[0]
    assert soft.order == ["q_proj", "k_proj", "v_proj", "prompt", "o_proj", "down", "parallel"]
    assert sparse.order == ["q_proj", "k_proj", "v_proj", "o_proj", "down", "parallel"]
    torch.manual_seed(0)
    gates = torch.sigmoid(Router(64, 7, 4)(torch.randn(500, 64)))
    assert abs(float(gates.mean()) - 0.5) < 0.05


def test_the_start_is_near_the_base_and_bitwise_without_the_parallel_adapter() -> None:
    model = attached(noise=0.0)
    base = base_logits()
    assert 0 < (model(IDS).logits - base).abs().max() < 1e-3
    with torch.no_grad():
        for mixture in mixtures(model):
            mixture.parallel.up.zero_()
    assert torch.equal(model(IDS).logits, base)


@pytest.mark.parametrize("expert", ["q_proj", "k_proj", "o_proj", "down", "parallel", "prompt"])
def test_one_saturated_gate_is_that_expert_alone(expert: str) -> None:
    model = attached()
    set_gates(model, {expert: 40.0})
    alone = model(IDS).logits
    other = copy.deepcopy(model)
    set_gates(other, 40.0)
    with torch.no_grad():
        for mixture in mixtures(other):
            for name, part in mixture.lora.items():
                if name != expert:
                    part.up.zero_()
            if expert != "parallel":
                mixture.parallel.up.zero_()
                mixture.parallel.up_bias.zero_()
            if expert != "prompt":
                mixture.prompt.head_gate.zero_()
    torch.testing.assert_close(alone, other(IDS).logits, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(alone, base_logits(), atol=1e-2)


def test_no_gate_is_the_base() -> None:
    soft, sparse = attached(), attached("moa-sparse")
    set_gates(soft, -40.0)
    torch.testing.assert_close(soft(IDS).logits, base_logits(), rtol=1e-5, atol=1e-4)
    set_gates(sparse, -40.0)
    assert torch.equal(sparse(IDS).logits, base_logits())


def test_a_lora_expert_behind_a_constant_gate_is_a_scaled_lora() -> None:
    from peft import LoraConfig, get_peft_model

    model = attached()
    with torch.no_grad():
        for mixture in mixtures(model):
            mixture.parallel.up.zero_()
            mixture.parallel.up_bias.zero_()
            mixture.prompt.head_gate.zero_()
    set_gates(model, 0.0)  # sigmoid(0): a half
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"]
    plain = get_peft_model(load_model("lab").model().eval(), LoraConfig(r=2, lora_alpha=4.0, target_modules=names))
    with torch.no_grad():
        for index, mixture in enumerate(mixtures(model)):
            block = plain.base_model.model.model.layers[index]
            for name, expert in mixture.lora.items():
                layer = block.mlp.down_proj if name == "down" else block.self_attn.get_submodule(name)
                layer.lora_A["default"].weight.copy_(expert.down)
                layer.lora_B["default"].weight.copy_(expert.up)
    plain.eval()
    torch.testing.assert_close(model(IDS).logits, plain(IDS).logits, rtol=1e-4, atol=1e-4)
    merged = plain.merge_and_unload()
    torch.testing.assert_close(model(IDS).logits, merged(IDS).logits, rtol=1e-4, atol=1e-4)


def test_sparse_with_no_threshold_is_soft() -> None:
    sparse = attached("moa-sparse", largest_threshold=1e-9)
    soft = copy.deepcopy(sparse)
    for mixture in mixtures(soft):
        mixture.threshold, mixture.sparse = None, False
    torch.testing.assert_close(sparse(IDS).logits, soft(IDS).logits, rtol=1e-5, atol=1e-5)


def test_a_higher_threshold_keeps_fewer_and_keeps_their_weights() -> None:
    model = attached("moa-sparse")
    mixture = mixtures(model)[0]
    x = torch.randn(3, 9, 128) * 3
    with torch.no_grad():
        mixture.threshold.weight.zero_()
        whole = torch.sigmoid(mixture.router(x))
        before = None
        for bias in (-9.0, -1.0, 0.0, 1.0, 9.0):
            mixture.largest = 1.0
            mixture.threshold.bias.fill_(bias)
            gates = mixture.gates(x)
            kept = gates > 0
            assert torch.equal(gates[kept], whole[kept])
            assert torch.equal(kept, whole >= torch.sigmoid(torch.tensor(bias)))
            assert before is None or not (kept & ~before).any()
            before = kept


@pytest.mark.parametrize("share", ["none", "all", "some"])
@pytest.mark.parametrize("tokens", [1, 9])
def test_experts_for_chosen_tokens_alone_are_those_for_all(share: str, tokens: int) -> None:
    mixture = mixtures(attached("moa-sparse"))[0]
    x = torch.randn(3, tokens, 128)
    gates = torch.rand(3, tokens, len(mixture.order))
    gates = {"none": gates * 0, "all": gates + 0.1, "some": gates * (gates > 0.5)}[share]
    for name in ("q_proj", "parallel"):
        expert = mixture.parallel if name == "parallel" else mixture.lora[name]
        dense = gates[..., mixture.order.index(name), None] * expert(x)
        before = torch.randn_like(dense)
        torch.testing.assert_close(mixture.added_to(before, name, gates, x), before + dense, rtol=1e-5, atol=1e-5)
        if share == "none":
            assert mixture.added_to(before, name, gates, x) is before


@pytest.mark.parametrize("threshold", ["released", "subtract", "straight-through"])
def test_how_the_threshold_learns(threshold: str) -> None:
    """The published code's hard comparison gives it no gradient; the two other forms do; the router always has one."""
    model = attached("moa-sparse", threshold=threshold)
    model(input_ids=IDS, labels=IDS).loss.backward()
    for mixture in mixtures(model):
        gradient = mixture.threshold.weight.grad
        assert (gradient is None or not gradient.any()) == (threshold == "released")
        assert mixture.router.out.weight.grad.any()


def test_straight_through_computes_what_released_does() -> None:
    one, other = attached("moa-sparse"), attached("moa-sparse", threshold="straight-through")
    torch.testing.assert_close(one(IDS).logits, other(IDS).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["moa", "moa-sparse"])
def test_a_token_is_weighed_by_itself_alone(name: str) -> None:
    """Batch items are apart, later tokens change nothing, a cached step is the same as a whole pass."""
    model = attached(name)
    whole = model(IDS).logits
    torch.testing.assert_close(model(IDS.flip(0)).logits, whole.flip(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model(IDS[:, :9]).logits, whole[:, :9], rtol=1e-4, atol=1e-4)
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    model(IDS[:, :9], past_key_values=cache, use_cache=True)
    position = torch.full((2, 1), 9)
    step = model(IDS[:, 9:10], past_key_values=cache, use_cache=True, position_ids=position).logits
    torch.testing.assert_close(step[:, 0], whole[:, 9], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("site", "affine"), [("parallel", True), ("down", True), ("q_proj", False)])
def test_a_block_is_affine_in_the_gates_after_its_nonlinearities_only(site: str, affine: bool) -> None:
    model = attached().double()
    layer, mixture = layers(model)[0], mixtures(model)[0]
    x = torch.randn(1, 6, 128, dtype=torch.float64)
    position = model.base_model.model.model.rotary_emb(x, torch.arange(6)[None])

    def output(gate: float) -> torch.Tensor:
        fixed = torch.full((1, 6, len(mixture.order)), 0.3, dtype=torch.float64)
        fixed[..., mixture.order.index(site)] = gate
        mixture.gates = lambda _: fixed
        return layer(x, attention_mask=None, position_embeddings=position)

    low, middle, high = output(0.0), output(0.5), output(1.0)
    assert torch.allclose(middle, (low + high) / 2, rtol=1e-9, atol=1e-9) == affine
    assert not torch.allclose(low, high)


def test_prompt_keys_have_no_position_and_share_their_head_groups() -> None:
    """Grouped heads are those of a loop over heads; a constant added to every score changes nothing (softmax)."""
    model = attached()
    mixture, layer = mixtures(model)[0], layers(model)[0]
    attention = layer.base_layer.self_attn
    query = torch.randn(2, 5, attention.q_proj.out_features)
    position = (torch.ones(2, 5, mixture.prompt.head_size), torch.zeros(2, 5, mixture.prompt.head_size))
    found = mixture.prompt(attention, query, position)
    keys, values = attention.k_proj(mixture.prompt.vectors), attention.v_proj(mixture.prompt.vectors)
    size, heads = mixture.prompt.head_size, mixture.prompt.heads
    groups = heads // (keys.shape[-1] // size)
    for head in range(heads):
        k = keys[:, (head // groups) * size : (head // groups + 1) * size]
        v = values[:, (head // groups) * size : (head // groups + 1) * size]
        q = query[..., head * size : (head + 1) * size]
        expected = torch.softmax(q @ k.T / size**0.5 + 5.0, -1) @ v * mixture.prompt.head_gate[head]
        torch.testing.assert_close(found[..., head * size : (head + 1) * size], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["moa", "moa-sparse", "moe-lora"])
def test_saved_and_loaded_bitwise(name: str, tmp_path: Path) -> None:
    settings = {"rank": 2, "experts": 2} if name == "moe-lora" else QUICK
    handle = load_model("lab")
    model = (
        load_parameterisation(name, **settings).attach(Policy(handle.model(), handle.tokenizer(), handle.path), 0).model
    )
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.requires_grad:
                tensor.normal_(0, 0.05)
    model.eval().save_pretrained(tmp_path)
    again = open_adapter(load_model("lab").model(), tmp_path).eval()
    assert torch.equal(again(IDS).logits, model(IDS).logits)


def test_equal_lora_experts_are_one_lora() -> None:
    """The control's gates sum to one, so equal experts are a single LoRA."""
    handle = load_model("lab")
    part = load_parameterisation("moe-lora", rank=2, experts=4, alpha=4.0)
    model = part.attach(Policy(handle.model(), handle.tokenizer(), handle.path), 0).model
    layer = model.base_model.model.model.layers[0].self_attn.q_proj
    with torch.no_grad():
        layer.moe_down["default"].copy_(layer.moe_down["default"][:1].expand_as(layer.moe_down["default"]).clone())
        layer.moe_up["default"].copy_(torch.randn(1, *layer.moe_up["default"].shape[1:]).expand(4, -1, -1))
    x = torch.randn(3, 128)
    one = 2.0 * x @ layer.moe_down["default"][0].T @ layer.moe_up["default"][0].T
    torch.testing.assert_close(layer.added(x, "default"), one, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_computed_again_is_not(tmp_path: Path) -> None:
    """Its gates are gone by the backward pass: refused before anything is trained."""
    spec = make_spec("moa+sft", steps=1).model_copy(update={"training": Training(gradient_checkpointing=True)})
    directory = place(spec, tmp_path)
    assert work(directory.path, Resources()) == FAILED
    failure = directory.read_failure()
    assert failure.failure != "bug" and failure.message.startswith("gradient_checkpointing refused: moa cannot")
