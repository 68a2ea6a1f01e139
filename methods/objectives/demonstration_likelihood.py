"""The likelihood of gold completions as a fitness: mean log-probability of a demonstration's tokens, nothing generated.

The same tokens that supervised fine-tuning learns from (prompt left out, end token included); a member's fitness is
minus its mean loss on the batch, which two-point methods descend by forward passes alone (Malladi et al. 2023, arXiv
2305.17333, section 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.contracts import Item, Offer, Signal
from methods.objectives.walk import shuffled_walk

if TYPE_CHECKING:
    from harness.context import StageContext


@dataclass(frozen=True)
class DemonstrationLikelihood:
    """`batch_size` demonstrations an iteration, of the first `examples`."""

    batch_size: int
    examples: int
    name = "demonstration-likelihood"
    gives: frozenset[Signal] = frozenset({"fitness"})
    needs: frozenset[Offer] = frozenset({"demonstrations"})

    def batch(self, stage: StageContext, iteration: int) -> Sequence[Item]:
        """The items of one iteration."""
        return shuffled_walk(stage, iteration, self.batch_size, self.examples)

    def texts(self, stage: StageContext, items: Sequence[Item]) -> list[tuple[list[int], list[int]]]:
        """Prompt and completion token ids of each demonstration."""
        return [self._ids(stage, item) for item in items]

    def score(self, stage: StageContext, item: Item, completion: str) -> float:
        """Never asked: likelihoods are the scores."""
        raise NotImplementedError("demonstrations are scored by their likelihood, not by answers")

    def _ids(self, stage: StageContext, item: Item) -> tuple[list[int], list[int]]:
        from harness.engines.hf import encode

        tokenizer: Any = stage.policy.tokenizer
        prompt, answer = stage.task.prompt(item), stage.task.demonstration(item)
        before = encode(tokenizer, prompt)
        if isinstance(prompt, str):
            whole = list(tokenizer(prompt + answer + tokenizer.eos_token).input_ids)
        else:
            turns = [*prompt, {"role": "assistant", "content": answer}]
            whole = list(tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"])
        return before, whole[len(before) :]

    def describe(self) -> dict[str, Any]:
        return {"batch_size": self.batch_size, "examples": self.examples}


def demonstration_likelihood(batch_size: int, examples: int) -> DemonstrationLikelihood:
    """Mean log-likelihood of `batch_size` demonstrations an iteration."""
    return DemonstrationLikelihood(batch_size, examples)
