"""The vLLM engine against the embedded one, and what an answer must not depend on. `make test-vllm` runs these."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from harness.contracts import Completion, Prompt, Sampling
from harness.engines.hf import HFEngine, encode, end_ids
from harness.engines.vllm import VLLMEngine
from harness.engines.vllm_server import server_for
from harness.errors import UserError
from harness.models import load_model
from harness.policy import Policy
from harness.registry import load_task

TIE = 1e-4
"""Nats between the two likeliest tokens below which float summation order may choose."""
UNEVEN: list[Prompt] = [
    load_task("countdown", level=level).prompt(item)
    for level in ("L4", "L0", "L2")
    for item in load_task("countdown", level=level).items("val", 8)
]


@pytest.fixture(scope="module")
def policy() -> Policy:
    handle = load_model("lab")
    return Policy(handle.model().eval(), handle.tokenizer(), handle.path)


def embedded(policy: Policy) -> HFEngine:
    return HFEngine(policy.model, policy.tokenizer)


def tokens(answers: Sequence[Completion]) -> list[list[int]]:
    return [answer.token_ids for answer in answers]


def lead_where_they_part(policy: Policy, prompt: Prompt, one: Completion, other: Completion) -> float:
    """How far apart (nats) the model finds the two tokens at which two answers part."""
    pairs = zip(one.token_ids, other.token_ids, strict=False)
    place = next(index for index, (a, b) in enumerate(pairs) if a != b)
    ids = torch.tensor([encode(policy.tokenizer, prompt) + one.token_ids[:place]])
    with torch.no_grad():
        logs = torch.log_softmax(policy.model(ids).logits[0, -1].double(), -1)
    return abs(float(logs[one.token_ids[place]] - logs[other.token_ids[place]]))


def assert_agreement(policy: Policy, prompts: list[Prompt], a: list[Completion], b: list[Completion]) -> int:
    """Every disagreement is a float tie; returns how many there are."""
    parted = [index for index in range(len(a)) if a[index].token_ids != b[index].token_ids]
    for index in parted:
        lead = lead_where_they_part(policy, prompts[index], a[index], b[index])
        assert lead < TIE, f"item {index}: {a[index].text!r} and {b[index].text!r} part at {lead:.3g} nats"
    return len(parted)


def test_a_thousand_greedy_answers_agree(policy: Policy) -> None:
    task = load_task("countdown", level="L2")
    prompts = [task.prompt(item) for item in task.items("test", 1000)]
    sampling = Sampling(task.max_new_tokens, 0.0, stop=task.stop)
    ours = VLLMEngine(policy).generate(prompts, sampling, 0)
    reference = embedded(policy).generate(prompts, sampling, 0)
    parted = assert_agreement(policy, prompts, ours, reference)
    print(f"\n{len(prompts) - parted} of {len(prompts)} greedy answers agree")
    assert parted <= 0.005 * len(prompts)
    for mine, other in zip(ours, reference, strict=True):
        if mine.token_ids == other.token_ids:
            assert (mine.text, mine.truncated, mine.prompt_tokens) == (other.text, other.truncated, other.prompt_tokens)
            assert mine.logprobs == pytest.approx(other.logprobs, abs=1e-3)


@pytest.mark.parametrize("limit", [1, 7])
def test_limits_and_end_tokens_are_counted_alike(policy: Policy, limit: int) -> None:
    for sampling in (Sampling(limit, 1.0), Sampling(limit, 0.0)):
        for answer in VLLMEngine(policy).generate(UNEVEN, sampling, 0):
            assert 1 <= len(answer.token_ids) <= limit and len(answer.logprobs) == len(answer.token_ids)
            assert answer.truncated == (answer.token_ids[-1] not in end_ids(policy.model, policy.tokenizer))


def test_text_is_cut_at_the_stop_and_tokens_are_not(policy: Policy) -> None:
    whole = VLLMEngine(policy).generate(UNEVEN, Sampling(40, 0.0), 0)
    cut = VLLMEngine(policy).generate(UNEVEN, Sampling(40, 0.0, stop="="), 0)
    assert any("=" in answer.text for answer in whole)
    for one, other in zip(whole, cut, strict=True):
        assert other.text == one.text.split("=")[0] and other.token_ids == one.token_ids


def test_samples_follow_from_the_seed_and_the_place_alone(policy: Policy) -> None:
    engine, sampling = VLLMEngine(policy), Sampling(24, 1.0)
    first, again, other = (engine.generate(UNEVEN, sampling, seed) for seed in (1, 1, 2))
    assert tokens(first) == tokens(again) != tokens(other)
    assert tokens(engine.generate(UNEVEN[:3], sampling, 1)) == tokens(first)[:3]
    same = engine.generate([UNEVEN[0]] * 16, sampling, 1)
    assert len({tuple(answer.token_ids) for answer in same}) > 4


def test_samples_follow_the_models_distribution(policy: Policy) -> None:
    prompt, count = UNEVEN[0], 2000
    with torch.no_grad():
        logits = policy.model(torch.tensor([encode(policy.tokenizer, prompt)])).logits[0, -1]
    for sampling in (Sampling(1, 0.7), Sampling(1, 1.0, top_p=0.6)):
        answers = VLLMEngine(policy).generate([prompt] * count, sampling, 5)
        found = torch.bincount(torch.tensor([answer.token_ids[0] for answer in answers]), minlength=len(logits)) / count
        probabilities = torch.softmax(logits / sampling.temperature, -1)
        ordered, order = probabilities.sort(descending=True)
        kept = order[: int((ordered.cumsum(0) - ordered < sampling.top_p).sum())]
        expected = torch.zeros_like(probabilities).scatter(0, kept, probabilities[kept] / probabilities[kept].sum())
        assert float((found - expected).abs().sum()) / 2 < 3 * math.sqrt(len(kept) / count)
        assert not found[expected == 0].any()
        own = torch.log_softmax(logits, -1)
        assert all(abs(answer.logprobs[0] - float(own[answer.token_ids[0]])) < 1e-3 for answer in answers)


def test_it_answers_by_the_weights_as_they_are_now(policy: Policy) -> None:
    engine, sampling = VLLMEngine(policy), Sampling(24, 0.0)
    before = engine.generate(UNEVEN, sampling, 0)
    kept = {name: tensor.detach().clone() for name, tensor in policy.model.named_parameters()}
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in policy.model.parameters():
            tensor.add_(0.01 * torch.randn(tensor.shape, generator=drawn))
    try:
        moved = engine.generate(UNEVEN, sampling, 0)
        assert tokens(moved) != tokens(before)
        assert_agreement(policy, UNEVEN, moved, embedded(policy).generate(UNEVEN, sampling, 0))
    finally:
        with torch.no_grad():
            for name, tensor in policy.model.named_parameters():
                tensor.copy_(kept[name])
    assert tokens(engine.generate(UNEVEN, sampling, 0)) == tokens(before)


def test_weights_that_were_not_all_given_answer_nothing(policy: Policy) -> None:
    VLLMEngine(policy).generate(UNEVEN[:1], Sampling(1, 0.0), 0)
    server = server_for(policy.model)
    from harness.engines.vllm_form import plain_weights

    with pytest.raises(RuntimeError, match="which the policy did not give"):
        server.load(plain_weights(policy.model)[:-1])
    with pytest.raises(RuntimeError, match="vLLM holds weights number"):
        server.answer([[1, 2]], None, None)
    VLLMEngine(policy).generate(UNEVEN[:1], Sampling(1, 0.0), 0)


def test_likelihoods_are_the_embedded_engines(policy: Policy) -> None:
    texts = [(prompt, f" {index}#") for index, prompt in enumerate(UNEVEN[:6])] + [("", str(UNEVEN[0]))]
    for mine, other in zip(VLLMEngine(policy).likelihoods(texts), embedded(policy).likelihoods(texts), strict=True):
        assert mine.logprob == pytest.approx(other.logprob, abs=1e-3)
        assert (mine.tokens, mine.greedy) == (other.tokens, other.greedy)


def test_an_answer_that_could_leave_the_window_is_refused(policy: Policy) -> None:
    with pytest.raises(UserError, match="lower max_new_tokens, or use the engine hf"):
        VLLMEngine(policy).generate(UNEVEN[:1], Sampling(100_000, 0.0), 0)


def test_starting_the_engine_leaves_the_random_state_alone(policy: Policy) -> None:
    def draws() -> list[Any]:
        return [random.random(), float(np.random.rand()), float(torch.rand(()))]

    def seed() -> None:
        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)

    seed()
    expected = draws()
    seed()
    running = server_for(policy.model)
    assert server_for(policy.model, rank=9, slots=running.slots + 1) is not running
    assert draws() == expected
