"""Adapters on vLLM: what is served as a LoRA, what is merged, what is refused, and at which scale."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.contracts import Prompt, Sampling
from harness.engines.hf import encode, end_ids
from harness.engines.vllm import VLLMEngine, completions, parameters
from harness.engines.vllm_form import exact_lora, plain_weights, rank_of
from harness.engines.vllm_server import server_for
from harness.errors import UserError
from harness.models import load_model
from harness.policy import Policy, digest_of
from harness.registry import load_method
from tests.vllm.test_engine import UNEVEN, assert_agreement, embedded, tokens

GREEDY = Sampling(24, 0.0)


def adapted(part: str, seed: int, size: float = 0.3, **settings: Any) -> Policy:
    """The lab model with an adapter of random factors around it."""
    handle = load_model("lab")
    stage = load_method(f"{part}+sft", **settings).stages[0]
    policy = stage.parameterisation.attach(Policy(handle.model().eval(), handle.tokenizer(), handle.path), seed)  # type: ignore[union-attr]
    policy.model.eval()
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in policy.tensors().values():
            tensor.add_(size * torch.randn(tensor.shape, generator=drawn))
    return policy


@pytest.mark.parametrize(
    ("part", "as_lora"),
    [("lora", True), ("rslora", True), ("kron-lora", True), ("dora", False), ("ia3", False), ("vera", False)],
)
def test_every_adapter_answers_as_it_does_embedded(part: str, as_lora: bool) -> None:
    policy = adapted(part, 1, 0.2)
    before = digest_of(policy.model.named_parameters())
    served = exact_lora(policy.model)
    assert (served is not None) == as_lora
    mine = VLLMEngine(policy).generate(UNEVEN, GREEDY, 0)
    assert_agreement(policy, UNEVEN, mine, embedded(policy).generate(UNEVEN, GREEDY, 0))
    with policy.model.disable_adapter():
        assert tokens(mine) != tokens(embedded(policy).generate(UNEVEN, GREEDY, 0)), "the adapter changes nothing"
    assert digest_of(policy.model.named_parameters()) == before


def test_the_scale_of_rslora_is_its_own() -> None:
    """alpha / sqrt(r) is four times alpha / r at rank 16: the wrong one gives other answers."""
    policy = adapted("rslora", 2, 0.1, rank=16)
    served = exact_lora(policy.model)
    assert served is not None
    config = policy.model.active_peft_config
    assert {module.scale for module in served.modules.values()} == {config.lora_alpha / 16**0.5}
    right = VLLMEngine(policy).generate(UNEVEN, GREEDY, 0)
    reference = embedded(policy).generate(UNEVEN, GREEDY, 0)
    assert_agreement(policy, UNEVEN, right, reference)
    for layer in policy.model.modules():
        if isinstance(getattr(layer, "scaling", None), dict):
            layer.scaling = {name: value / 4 for name, value in layer.scaling.items()}
    assert tokens(embedded(policy).generate(UNEVEN, GREEDY, 0)) != tokens(reference)


def test_three_adapters_in_one_batch_answer_as_one_by_one() -> None:
    policies = [adapted("lora", seed, rank=rank) for seed, rank in ((1, 4), (2, 8), (3, 16))]
    adapters = [exact_lora(policy.model) for policy in policies]
    found = [adapter for adapter in adapters if adapter is not None]
    assert len(found) == 3
    alone = [VLLMEngine(policy).generate(UNEVEN, GREEDY, 0) for policy in policies]
    assert len({str(tokens(answers)) for answers in alone}) == 3
    model, tokenizer = policies[0].model, policies[0].tokenizer
    server = server_for(model, max(map(rank_of, found)), 3)
    server.load(plain_weights(model))
    requests = server.adapt(found)
    assert requests is not None
    ends = end_ids(model, tokenizer)
    rows = [encode(tokenizer, prompt) for prompt in UNEVEN for _ in requests]  # neighbours are of other adapters
    outputs = server.answer(rows, parameters(GREEDY, ends, range(len(rows))), requests * len(UNEVEN))
    together = completions(tokenizer, rows, outputs, GREEDY, ends)
    for place, policy in enumerate(policies):
        assert_agreement(policy, UNEVEN, together[place::3], alone[place])


def test_an_adapter_with_parts_that_are_no_lora_is_merged() -> None:
    from peft import LoraConfig, get_peft_model

    handle = load_model("lab")
    config = LoraConfig(r=4, target_modules=["q_proj", "embed_tokens"], task_type="CAUSAL_LM")
    model = get_peft_model(handle.model(), config).eval()
    policy = Policy(model, handle.tokenizer(), handle.path, "adapter")
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in policy.tensors().values():
            tensor.add_(0.3 * torch.randn(tensor.shape, generator=drawn))
    assert exact_lora(model) is None
    mine = VLLMEngine(policy).generate(UNEVEN, GREEDY, 0)
    merged = Policy(model.merge_and_unload(), policy.tokenizer, handle.path)
    assert_agreement(merged, UNEVEN, mine, embedded(merged).generate(UNEVEN, GREEDY, 0))


@pytest.mark.parametrize("part", ["prompt", "bottleneck"])
def test_what_is_neither_a_lora_nor_merged_is_refused(part: str) -> None:
    policy = adapted(part, 0)
    prompts: list[Prompt] = UNEVEN[:1]
    with pytest.raises(UserError, match="is no LoRA and cannot be merged: use the engine hf"):
        VLLMEngine(policy).generate(prompts, GREEDY, 0)
