"""A generator on vLLM: every prompt under the adapter of its own text, as the embedded engine answers it."""

from __future__ import annotations

from harness.contracts import Sampling
from harness.engines.adapted import AdaptedEngine
from harness.engines.vllm import VLLMEngine
from harness.engines.vllm_adapted import VLLMAdapted
from harness.policy import Policy
from tests.letters import policy
from tests.vllm.test_engine import UNEVEN, assert_agreement, embedded, tokens

TEXTS = ["add the two ends.", "which is largest?", "reverse", "the whole line, once more"]
GREEDY = Sampling(12, 0.0)


def test_every_row_carries_the_adapter_of_its_text() -> None:
    """Also where the texts need more adapters than there is room for at once."""
    generator = policy()
    texts = [TEXTS[place % len(TEXTS)] for place in range(len(UNEVEN))]
    reference = AdaptedEngine(generator.model, generator.tokenizer).generate(UNEVEN, texts, GREEDY, 0)
    base = Policy(generator.model.base, generator.tokenizer, generator.start)
    assert tokens(embedded(base).generate(UNEVEN, GREEDY, 0)) != tokens(reference)
    for slots in (32, 3):
        found = VLLMAdapted(generator, slots).generate(UNEVEN, texts, GREEDY, 0)
        assert tokens(found) == tokens(reference)
        assert [one.text for one in found] == [one.text for one in reference]


def test_samples_do_not_depend_on_the_room() -> None:
    generator = policy()
    texts = [TEXTS[place % len(TEXTS)] for place in range(len(UNEVEN))]
    wide, narrow = (VLLMAdapted(generator, slots).generate(UNEVEN, texts, Sampling(12, 1.0), 3) for slots in (32, 2))
    assert tokens(wide) == tokens(narrow)


def test_without_a_text_a_generator_is_its_base() -> None:
    generator = policy()
    base = Policy(generator.model.base, generator.tokenizer, generator.start)
    found = VLLMEngine(generator).generate(UNEVEN, GREEDY, 0)
    assert_agreement(base, UNEVEN, found, embedded(base).generate(UNEVEN, GREEDY, 0))
