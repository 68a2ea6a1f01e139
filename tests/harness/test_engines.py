"""The embedded engine against transformers' own generation, and what its answers must not depend on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.chat import turn_end
from harness.contracts import Prompt, Sampling
from harness.engines.decode import choose
from harness.engines.hf import HFEngine, encode, end_ids
from harness.engines.population import PopulationEngine
from harness.engines.prefix import common_length
from harness.engines.side_path import members_of, supported
from harness.models import load_model
from harness.policy import digest_of
from harness.registry import load_task

TASK = load_task("countdown", level="L1")
PROMPTS = [TASK.prompt(item) for item in TASK.items("val", 12)]
UNEVEN = [
    load_task("countdown", level=level).prompt(item)
    for level in ("L4", "L0", "L2")
    for item in load_task("countdown", level=level).items("val", 4)
]


@pytest.fixture(scope="module")
def engine() -> HFEngine:
    handle = load_model("lab")
    return HFEngine(handle.model().eval(), handle.tokenizer())


def test_greedy_answers_are_those_of_generate(engine: HFEngine) -> None:
    answers = engine.generate(PROMPTS, Sampling(24, 0.0), 0)
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        ids = torch.tensor([encode(engine.tokenizer, prompt)])
        own = engine.model.generate(ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1] :].tolist()
        assert answer.token_ids == own
        assert answer.truncated == (own[-1] != engine.tokenizer.eos_token_id)


def test_log_probabilities_are_those_of_a_plain_forward(engine: HFEngine) -> None:
    for prompt, answer in zip(PROMPTS, engine.generate(PROMPTS, Sampling(24, 1.0), 3), strict=True):
        head = encode(engine.tokenizer, prompt)
        ids = torch.tensor([head + answer.token_ids])
        with torch.no_grad():
            logs = torch.log_softmax(engine.model(ids).logits[0, len(head) - 1 : -1].float(), -1)
        expected = logs.gather(-1, torch.tensor(answer.token_ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(answer.logprobs), expected, atol=1e-4, rtol=1e-4)


def test_the_same_seed_gives_the_same_samples_and_another_others(engine: HFEngine) -> None:
    first, again, other = (engine.generate(PROMPTS, Sampling(24, 1.0), seed) for seed in (1, 1, 2))
    assert [a.token_ids for a in first] == [a.token_ids for a in again]
    assert [a.token_ids for a in first] != [a.token_ids for a in other]


def test_a_row_does_not_depend_on_rows_that_finish_around_it(engine: HFEngine) -> None:
    """Padding and dropped rows change nothing: greedy answers are the same alone and in a batch."""
    together = engine.generate(PROMPTS, Sampling(24, 0.0), 0)
    alone = [engine.generate([prompt], Sampling(24, 0.0), 0)[0] for prompt in PROMPTS]
    assert [a.token_ids for a in together] == [a.token_ids for a in alone]


def test_samples_follow_the_distribution() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).repeat(40_000, 1)
    uniform = torch.rand(40_000, generator=torch.Generator().manual_seed(0))
    for temperature in (1.0, 0.5):
        counts = torch.bincount(choose(logits, Sampling(1, temperature), uniform), minlength=4) / 40_000
        torch.testing.assert_close(counts, torch.softmax(logits[0] / temperature, -1), atol=0.01, rtol=0)
    nucleus = torch.bincount(choose(logits, Sampling(1, 1.0, 0.8), uniform), minlength=4)
    assert nucleus.tolist()[0] == 0 and nucleus.tolist()[3] == 0  # 0.64 + 0.24 reach 0.8


def test_rows_must_divide_among_members(engine: HFEngine) -> None:
    members = population(engine.model, 2, 0.1)
    with pytest.raises(ValueError, match="3 rows do not divide"), members_of(engine.model, members, 2):
        engine.model(torch.ones(3, 4, dtype=torch.long))


def lengths(engine: HFEngine, prompts: list[Prompt]) -> list[int]:
    return [len(encode(engine.tokenizer, prompt)) for prompt in prompts]


def tokens(answers: list[Any]) -> list[list[int]]:
    return [answer.token_ids for answer in answers]


def test_left_padding_changes_nothing(engine: HFEngine) -> None:
    """Prompts of several lengths in one batch: the tokens and log-probabilities of each are those it has alone."""
    assert len(set(lengths(engine, UNEVEN))) >= 3
    together = engine.generate(UNEVEN, Sampling(32, 0.0), 0)
    for prompt, answer in zip(UNEVEN, together, strict=True):
        (alone,) = engine.generate([prompt], Sampling(32, 0.0), 0)
        assert answer.token_ids == alone.token_ids and answer.text == alone.text
        assert answer.prompt_tokens == alone.prompt_tokens == len(encode(engine.tokenizer, prompt))
        assert answer.logprobs == pytest.approx(alone.logprobs, abs=1e-4)


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_greedy_answers_do_not_depend_on_the_size_of_a_batch(engine: HFEngine, rows: int) -> None:
    small = HFEngine(engine.model, engine.tokenizer, batch_rows=rows)
    assert tokens(small.generate(UNEVEN, Sampling(32, 0.0), 0)) == tokens(engine.generate(UNEVEN, Sampling(32, 0.0), 0))


def test_answers_come_in_the_order_of_the_prompts(engine: HFEngine) -> None:
    forwards = tokens(engine.generate(UNEVEN, Sampling(32, 0.0), 0))
    assert tokens(engine.generate(UNEVEN[::-1], Sampling(32, 0.0), 0)) == forwards[::-1]
    assert len({tuple(row) for row in forwards}) > len(forwards) // 2


def test_a_sample_does_not_depend_on_its_neighbours(engine: HFEngine) -> None:
    """The same prompt at the same place of a batch: whatever the others ask, and whenever they end."""
    chosen, length = PROMPTS[0], lengths(engine, PROMPTS[:1])[0]
    others = [prompt for prompt in PROMPTS[1:] if lengths(engine, [prompt])[0] == length]
    first, second = others[:3], others[-3:]
    assert first != second
    sampling = Sampling(60, 1.0)
    compared = 0
    for seed in range(12):
        a, b = (engine.generate([*rest, chosen], sampling, seed) for rest in (first, second))
        assert a[-1].token_ids == b[-1].token_ids
        ends = [[len(answer.token_ids) for answer in one] for one in (a, b)]
        compared += ends[0][:-1] != ends[1][:-1] and min(map(min, ends)) < ends[0][-1]
    assert compared, "no neighbour was ever dropped before the row was done"


def test_a_sample_does_not_depend_on_the_size_of_a_batch(engine: HFEngine) -> None:
    small = HFEngine(engine.model, engine.tokenizer, batch_rows=5)
    assert tokens(small.generate(PROMPTS, Sampling(24, 1.0), 1)) == tokens(
        engine.generate(PROMPTS, Sampling(24, 1.0), 1)
    )


def test_samples_of_one_prompt_differ(engine: HFEngine) -> None:
    answers = engine.generate([PROMPTS[0]] * 16, Sampling(24, 1.0), 0)
    assert len({tuple(answer.token_ids) for answer in answers}) > 4


def test_a_low_temperature_is_nearly_greedy_and_a_tiny_nucleus_is(engine: HFEngine) -> None:
    greedy = tokens(engine.generate(PROMPTS, Sampling(24, 0.0), 0))
    assert tokens(engine.generate(PROMPTS, Sampling(24, 1.0, top_p=1e-6), 0)) == greedy
    assert tokens(engine.generate(PROMPTS, Sampling(24, 1e-4), 0)) == greedy


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_no_answer_is_longer_than_its_limit(engine: HFEngine, limit: int) -> None:
    for answer in engine.generate(PROMPTS, Sampling(limit, 1.0), 0):
        assert 1 <= len(answer.token_ids) <= limit and len(answer.logprobs) == len(answer.token_ids)
        assert answer.truncated == (answer.token_ids[-1] not in end_ids(engine.model, engine.tokenizer))


def test_text_is_cut_at_the_stop_and_free_of_special_tokens(engine: HFEngine) -> None:
    whole = engine.generate(PROMPTS, Sampling(60, 0.0), 0)
    cut = engine.generate(PROMPTS, Sampling(60, 0.0, stop="="), 0)
    assert any("=" in answer.text for answer in whole)
    for one, other in zip(whole, cut, strict=True):
        assert other.text == one.text.split("=")[0] and other.token_ids == one.token_ids
        assert engine.tokenizer.eos_token not in one.text
        assert engine.tokenizer.decode(one.token_ids, skip_special_tokens=True) == one.text


def test_messages_go_through_the_chat_template(engine: HFEngine) -> None:
    messages = [{"role": "user", "content": "3,5=8>"}]
    text = engine.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert engine.tokenizer.decode(encode(engine.tokenizer, messages)) == text
    assert engine.generate([messages], Sampling(4, 0.0), 0)[0].prompt_tokens == len(encode(engine.tokenizer, messages))


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(engine: HFEngine, training: bool) -> None:
    before = digest_of(engine.model.named_parameters())
    engine.model.train(training)
    try:
        engine.generate(PROMPTS[:2], Sampling(4, 1.0), 0)
        assert engine.model.training is training
        with pytest.raises(TypeError):
            engine.generate(PROMPTS[:2], Sampling(4, "hot"), 0)  # type: ignore[arg-type]
        assert engine.model.training is training
    finally:
        engine.model.eval()
    assert digest_of(engine.model.named_parameters()) == before


def population(model: Any, count: int, scale: float, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """`count` disturbed copies of every tensor, stacked."""
    random = torch.Generator().manual_seed(1)
    return {
        name: torch.stack(
            [(t.detach().float() + scale * torch.randn(t.shape, generator=random)).to(dtype) for _ in range(count)]
        )
        for name, t in model.named_parameters()
    }


def test_a_population_answers_as_its_members_do(engine: HFEngine) -> None:
    """Uneven prompts, members that end at different times: greedy answers are those of a model of each member's own."""
    members, count = population(engine.model, 4, 0.02), 4
    before = digest_of(engine.model.named_parameters())
    answers = PopulationEngine(engine.model, engine.tokenizer).generate(members, count, UNEVEN, Sampling(40, 0.0), 0)
    assert digest_of(engine.model.named_parameters()) == before
    alone = load_model("lab").model().eval()
    for place in range(count):
        alone.load_state_dict({name: tensor[place] for name, tensor in members.items()}, strict=False)
        alone.tie_weights()
        own = HFEngine(alone, engine.tokenizer).generate(UNEVEN, Sampling(40, 0.0), 0)
        assert tokens(answers[place]) == tokens(own)
        for one, other in zip(answers[place], own, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-3)
    assert tokens(answers[0]) != tokens(answers[1]), "the members agree: this test would prove nothing"


def test_a_tied_tensor_is_replaced_wherever_it_is_used(engine: HFEngine) -> None:
    """The embedding and the head share one tensor: a member's own stands in both places."""
    model = engine.model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    (name,) = [n for n, t in model.named_parameters() if t is model.get_input_embeddings().weight]
    members = {name: population(model, 2, 0.1)[name]}
    ids = torch.arange(5, 17).repeat(2, 1)
    alone = load_model("lab").model().eval()
    with torch.no_grad():
        with members_of(model, members, 2):
            together = model(ids).logits
        for place in range(2):
            alone.get_input_embeddings().weight.copy_(members[name][place])
            assert alone.get_output_embeddings().weight is alone.get_input_embeddings().weight
            torch.testing.assert_close(together[place], alone(ids[place : place + 1]).logits[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("count", [1, 3])
def test_the_base_is_bit_for_bit_restored(dtype: torch.dtype, count: int) -> None:
    """One member at a time or all at once, in any precision, and when something breaks in between."""
    model = load_model("lab").model(dtype=dtype).eval()
    before, members = digest_of(model.named_parameters()), population(model, count, 0.1, dtype)
    ids = torch.arange(5, 17).repeat(count, 1)
    with torch.no_grad():
        base = model(ids).logits
        with members_of(model, members, count):
            assert not torch.equal(model(ids).logits, base)
        with pytest.raises(RuntimeError, match="broke"), members_of(model, members, count):
            raise RuntimeError("it broke")
        assert torch.equal(model(ids).logits, base)
    assert digest_of(model.named_parameters()) == before
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_layer_that_cannot_be_batched_is_answered_one_member_at_a_time(engine: HFEngine) -> None:
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.scale = torch.nn.Linear(2, 2), torch.nn.Parameter(torch.ones(2))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.linear(inputs) * self.scale

    model = Odd()
    odd, plain = {"scale": torch.rand(2, 2)}, {"linear.weight": torch.rand(2, 2, 2)}
    assert supported(model, plain) and not supported(model, odd)
    population_engine = PopulationEngine(model, engine.tokenizer)
    assert population_engine.group_size(8, ["scale"], 1) == 1
    assert population_engine.group_size(8, ["linear.weight"], 1) > 1
    with pytest.raises(TypeError, match="Odd"), members_of(model, odd, 2):
        pass
    with members_of(model, {"scale": torch.full((1, 2), 3.0)}, 1):
        assert model.scale.tolist() == [3.0, 3.0]
    assert model.scale.tolist() == [1.0, 1.0]
    with pytest.raises(KeyError, match="none"), members_of(model, {"none": torch.rand(2, 2)}, 2):
        pass


def test_a_group_is_bounded_by_rows_and_by_memory(engine: HFEngine) -> None:
    names = dict(engine.model.named_parameters())
    build = PopulationEngine
    assert build(engine.model, engine.tokenizer, rows=40, memory_bytes=1000).group_size(10, names, 10) == 10
    assert build(engine.model, engine.tokenizer, rows=40, memory_bytes=1000).group_size(300, names, 10) == 3
    assert build(engine.model, engine.tokenizer, rows=40, memory_bytes=1).group_size(300, names, 1000) == 1


INSTRUCTED = load_task("countdown", level="L4", style="paper")
LONG = [INSTRUCTED.prompt(item) for item in INSTRUCTED.items("val", 8)]


def counted(engine: HFEngine, prompts: list[Prompt], sampling: Sampling) -> tuple[list[Any], int]:
    """The answers, and how many tokens went through the model for them."""
    through = 0

    def count(_: Any, __: Any, given: dict[str, Any]) -> None:
        nonlocal through
        through += given["input_ids"].numel()

    handle = engine.model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        return engine.generate(prompts, sampling, 0), through
    finally:
        handle.remove()


def test_a_beginning_that_all_prompts_share_is_computed_once(engine: HFEngine) -> None:
    """Instructions ahead of every question: the answers are those of each prompt alone, at fewer tokens computed."""
    rows = [encode(engine.tokenizer, prompt) for prompt in LONG]
    assert common_length(rows) > 50 and len(set(map(len, rows))) > 1
    together, through = counted(engine, LONG, Sampling(8, 0.0))
    alone = [engine.generate([prompt], Sampling(8, 0.0), 0)[0] for prompt in LONG]
    assert tokens(together) == tokens(alone)
    assert [a.prompt_tokens for a in together] == list(map(len, rows))
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(torch.tensor(one.logprobs), torch.tensor(other.logprobs), atol=1e-4, rtol=1e-4)
    widest = max(map(len, rows)) - common_length(rows)
    assert through <= common_length(rows) + len(rows) * (widest + 8)


def test_the_samples_of_a_prompt_share_its_computation(engine: HFEngine) -> None:
    """Eight samples of each prompt cost one prompt's pass, and sample what they would sample beside one another."""
    group = [prompt for prompt in UNEVEN[:3] for _ in range(8)]
    answers, through = counted(engine, group, Sampling(4, 1.0))
    assert through <= 3 * max(lengths(engine, UNEVEN[:3])) + 24 * 3
    wanted = [engine.generate([*group[:place], group[place]], Sampling(4, 1.0), 0)[-1] for place in (0, 9, 23)]
    assert tokens([answers[0], answers[9], answers[23]]) == tokens(wanted)
    assert len({tuple(row) for row in tokens(answers[:8])}) > 1


def test_the_order_of_the_prompts_changes_no_greedy_answer(engine: HFEngine) -> None:
    prompts = [*UNEVEN, *UNEVEN[:5]]
    forth = engine.generate(prompts, Sampling(16, 0.0), 0)
    back = engine.generate(prompts[::-1], Sampling(16, 0.0), 0)
    assert tokens(forth) == tokens(back)[::-1]


def test_the_common_beginning_leaves_every_prompt_a_token() -> None:
    assert common_length([[1, 2, 3], [1, 2, 4, 5]]) == 2
    assert common_length([[1, 2], [1, 2]]) == 1
    assert common_length([[1, 2, 3], [1, 2]]) == 1
    assert common_length([[7], [7, 8]]) == 0


CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


@pytest.mark.parametrize(
    ("template", "closing"),
    [
        (CHATML, "<|im_end|>"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }} {{ eos_token }}{% endfor %}", "<|endoftext|>"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", None),
        (None, None),
    ],
)
def test_what_closes_a_turn_in_the_template_ends_an_answer(template: str | None, closing: str | None) -> None:
    handle = load_model("lab")
    model, tokenizer = handle.model(), handle.tokenizer()
    tokenizer.chat_template = template
    assert turn_end(tokenizer) == (None if closing is None else tokenizer.convert_tokens_to_ids(closing))
    wanted = {tokenizer.eos_token_id} | ({turn_end(tokenizer)} - {None})
    assert set(end_ids(model, tokenizer)) == wanted
