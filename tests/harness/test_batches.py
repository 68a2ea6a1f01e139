"""What a batch of the embedded engines may hold, and that no answer depends on it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.contracts import Prompt, Sampling
from harness.engines.batches import batches, rows_within
from harness.engines.hf import HFEngine, encode
from harness.engines.likelihood import token_likelihoods
from harness.engines.population import PopulationEngine
from harness.models import load_model
from harness.policy import Policy
from harness.registry import load_method, load_task

UNEVEN: list[Prompt] = [
    load_task("countdown", level=level).prompt(item)
    for level in ("L4", "L0", "L2")
    for item in load_task("countdown", level=level).items("val", 5)
]
BOUND = 100
"""Tokens: three or four rows of these prompts and 16 new tokens."""


@pytest.fixture(scope="module")
def engine() -> HFEngine:
    handle = load_model("lab")
    return HFEngine(handle.model().eval(), handle.tokenizer())


class Watched:
    """The rows, and rows times tokens of cache, that the model was ever asked for at once."""

    def __init__(self, model: Any) -> None:
        self.rows, self.tokens = [], []
        self.handle = model.register_forward_hook(self._see, with_kwargs=True)

    def _see(self, _: Any, __: Any, given: dict[str, Any], out: Any) -> None:
        rows = len(given["input_ids"])
        cache = given.get("past_key_values")
        length = given["input_ids"].shape[1] if cache is None else cache.get_seq_length()
        self.rows.append(rows)
        self.tokens.append(rows * length)


@pytest.mark.parametrize("new_tokens", [50, 2500])
@pytest.mark.parametrize("seed", range(3))
def test_no_batch_exceeds_its_bounds(seed: int, new_tokens: int) -> None:
    random = torch.Generator().manual_seed(seed)
    lengths = [*range(1, 8), *torch.randint(1, 3000, (53,), generator=random).tolist()]
    found = list(batches(lengths, 7, 20_000, new_tokens))
    flat = [place for batch in found for place in batch]
    assert sorted(flat) == list(range(60)) and [lengths[place] for place in flat] == sorted(lengths)
    for batch in found:
        longest = max(lengths[place] for place in batch)
        assert len(batch) <= 7 and len(batch) * (longest + new_tokens) <= 20_000
        assert len(batch) * longest**2 <= 512 * 20_000
    assert max(map(len, found)) == 7 and len(found[-1]) < 7, "one of the bounds was never met: this proves nothing"


def test_a_row_beyond_the_bound_runs_alone() -> None:
    assert list(batches([5, 900, 5, 800], 8, 100, 10)) == [[0, 2], [3], [1]]
    assert list(batches([5, 5], 0, 100, 10)) == [[0], [1]]
    assert rows_within(900, 8, 100, 10) == 1 and rows_within(5, 8, 100, 10) == 6 and rows_within(1, 8, 100, 0) == 8


def test_equal_prompts_stand_together_and_are_read_once() -> None:
    """Eight samples of two prompts of 2,048 tokens: the square counts for two, or not for what is read already."""
    names = ["a", "b"] * 8
    assert list(batches([2048] * 16, 99, 40_000, 50, names)) == [[*range(0, 16, 2), *range(1, 16, 2)]]
    assert len(list(batches([2048] * 16, 99, 40_000, 50))) == 4
    assert len(list(batches([2048] * 16, 99, 40_000, 50, read=2000))) == 1


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_answers_do_not_depend_on_the_bound(engine: HFEngine, temperature: float) -> None:
    sampling = Sampling(16, temperature)
    wide = engine.generate(UNEVEN, sampling, 3)
    watched = Watched(engine.model)
    small = HFEngine(engine.model, engine.tokenizer, batch_tokens=BOUND).generate(UNEVEN, sampling, 3)
    watched.handle.remove()
    assert [answer.token_ids for answer in small] == [answer.token_ids for answer in wide]
    assert max(watched.tokens) <= BOUND and 1 < max(watched.rows) < len(UNEVEN)
    one = HFEngine(engine.model, engine.tokenizer, batch_tokens=1).generate(UNEVEN, sampling, 3)
    assert [answer.token_ids for answer in one] == [answer.token_ids for answer in wide]


def test_members_share_the_bound(engine: HFEngine) -> None:
    """Two members: a queue never holds more, and every member's answers are those of a wide batch."""
    random = torch.Generator().manual_seed(1)
    members = {
        name: torch.stack([t.detach() + 0.02 * torch.randn(t.shape, generator=random) for _ in range(2)])
        for name, t in engine.model.named_parameters()
    }
    build, sampling = PopulationEngine, Sampling(16, 0.0)
    wide = build(engine.model, engine.tokenizer).generate(members, 2, UNEVEN, sampling, 0)
    bounded = build(engine.model, engine.tokenizer, batch_tokens=2 * BOUND)
    watched = Watched(engine.model)
    small = bounded.generate(members, 2, UNEVEN, sampling, 0)
    watched.handle.remove()
    assert [[a.token_ids for a in one] for one in small] == [[a.token_ids for a in one] for one in wide]
    longest = max(len(encode(engine.tokenizer, prompt)) for prompt in UNEVEN)
    assert max(watched.rows) <= 2 * BOUND // (longest + 16) < 2 * len(UNEVEN)
    assert bounded.group_size(1, members, 15) > bounded.group_size(1, members, 15, longest, 16) >= 1


def test_rows_that_cannot_be_refilled_are_bounded_too(engine: HFEngine) -> None:
    handle = load_model("lab")
    part = load_method("prompt+es").stages[0].parameterisation  # type: ignore[union-attr]
    policy = part.attach(Policy(handle.model().eval(), engine.tokenizer, handle.path), 0)
    members = {name: tensor.detach()[None] for name, tensor in policy.tensors().items()}
    for temperature in (0.0, 1.0):
        wide, small = (
            PopulationEngine(policy.model, engine.tokenizer, rows=rows).generate(
                members, 1, UNEVEN, Sampling(8, temperature), 0
            )
            for rows in (99, 4)
        )
        assert [a.token_ids for a in wide[0]] == [a.token_ids for a in small[0]]


def test_likelihoods_do_not_depend_on_the_bound(engine: HFEngine) -> None:
    pairs = [("3,5=8>", "3+5"), ("3,5=8>", "5+3"), ("3,6=9>", "3+6"), ("3,5=8>", "3+5=8"), ("", "3+5=8")]
    small = HFEngine(engine.model, engine.tokenizer, batch_tokens=1)
    watched = Watched(engine.model)
    alone = small.likelihoods(pairs)
    assert set(watched.rows) == {1}
    together = engine.likelihoods(pairs)
    watched.handle.remove()
    assert max(watched.rows) > 1
    for one, other in zip(alone, together, strict=True):
        assert (one.tokens, one.greedy) == (other.tokens, other.greedy)
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


def test_logits_are_made_for_what_counts_alone(engine: HFEngine) -> None:
    shapes: list[int] = []
    handle = engine.model.register_forward_hook(lambda _, __, out: shapes.append(out.logits.shape[1]))
    (found,) = token_likelihoods(engine.model, [(list(range(5, 40)), [7, 8, 9])])
    handle.remove()
    assert shapes == [3] and found.tokens == 3
    with torch.no_grad():
        ids = torch.tensor([[*range(5, 40), 7, 8, 9]])
        logs = torch.log_softmax(engine.model(ids).logits[0, -4:-1], -1)
    assert found.logprob == pytest.approx(float(logs[range(3), [7, 8, 9]].sum()), abs=1e-4)
