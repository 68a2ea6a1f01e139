"""The population engine: many perturbed members of one model answer in one batch, the base is never mutated.

Every row of the batch belongs to a member; what is searched is computed with the member's own tensors or its low-rank
side path, everything else is shared by all (`harness.engines.side_path`). Prompts x members are one queue of rows
(`harness.engines.queue`). Where a layer of an unknown kind is searched, or the members' own tensors do not fit
`memory_bytes`, members are answered in smaller groups, down to one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from harness.contracts import Completion, Likelihood, Prompt, Sampling
from harness.engines.batches import BATCH_TOKENS, batches, rows_within
from harness.engines.hf import encode, end_ids, uniforms
from harness.engines.layout import LowRank
from harness.engines.likelihood import member_likelihoods
from harness.engines.queue import Answers, Queue, refills
from harness.engines.side_path import Members, members_of, supported


class PopulationEngine:
    """Answers the same prompts by every member of a population."""

    name = "population"

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        rows: int = 512,
        memory_bytes: int = 2**29,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        """`rows` and `batch_tokens` of a batch, and the bytes that the members' own tensors may take."""
        self.model = model
        self.tokenizer = tokenizer
        self.rows = rows
        self.memory_bytes = memory_bytes
        self.batch_tokens = batch_tokens

    def group_size(
        self, bytes_a_member: int, names: Iterable[str], prompts: int, longest: int = 1, new_tokens: int = 0
    ) -> int:
        """How many members one batch holds; each should have four rows of it at least, as far as there are prompts.

        `longest` is the tokens of the longest prompt, `new_tokens` what may come after it.
        """
        if not supported(self.model, names):
            return 1
        rows = rows_within(longest, self.rows, self.batch_tokens, new_tokens)
        by_rows = rows // max(1, min(prompts, 4) if refills(self.model) else prompts)
        return max(1, min(by_rows, self.memory_bytes // max(1, bytes_a_member)))

    def generate(
        self,
        members: Members,
        count: int,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seed: int,
        logprobs: bool = True,
    ) -> list[list[Completion]]:
        """One list of completions a member; `members` holds what is theirs by parameter name (`members_of`).

        Greedy answers equal those of the merged model up to floating-point summation order. In sampling, every
        member's n-th prompt uses the same random numbers. Without `logprobs` those of the completions are empty.
        """
        ids = [encode(self.tokenizer, prompt) for prompt in prompts]
        lengths = [len(row) for row in ids]
        limit = sampling.max_new_tokens
        rows = rows_within(max(lengths), self.rows, self.batch_tokens, limit)
        parts = [list(range(len(ids)))]  # one queue, or one a batch where its rows cannot be refilled
        if not refills(self.model):
            parts = list(batches(lengths, self.rows // count, self.batch_tokens // count, limit))
        found: list[dict[int, Completion]] = [{} for _ in range(count)]
        ends = end_ids(self.model, self.tokenizer)
        training = self.model.training
        self.model.eval()
        try:
            with members_of(self.model, members, count) as layout:
                for part in parts:
                    asked, uniform = [ids[place] for place in part], uniforms(sampling, seed, part)
                    queue = Queue(
                        self.model, asked, sampling, ends, self.tokenizer.pad_token_id, layout, rows, uniform, logprobs
                    )
                    answers = queue.run()
                    for member, own in enumerate(found):
                        own.update(zip(part, self._completions(answers, member, asked, sampling, ends), strict=True))
        finally:
            self.model.train(training)
        return [[own[place] for place in range(len(ids))] for own in found]

    def likelihoods(
        self, members: Members, count: int, texts: Sequence[tuple[Sequence[int], Sequence[int]]]
    ) -> list[list[Likelihood]]:
        """The likelihood of given tokens after given tokens (prompt ids, completion ids), one list a member."""
        with members_of(self.model, members, count):
            return member_likelihoods(self.model, texts, count, self.batch_tokens)

    def _completions(
        self, answers: Answers, member: int, prompts: list[list[int]], sampling: Sampling, ends: tuple[int, ...]
    ) -> list[Completion]:
        lengths = answers.lengths[member].tolist()
        token_ids = [row[:length] for row, length in zip(answers.token_ids[member].tolist(), lengths, strict=True)]
        logprobs = [[]] * len(prompts) if answers.logprobs is None else answers.logprobs[member].tolist()
        texts = self.tokenizer.batch_decode(token_ids, skip_special_tokens=True)
        if sampling.stop is not None:
            texts = [text.split(sampling.stop)[0] for text in texts]
        return [
            Completion(text, tokens, logs[: len(tokens)], tokens[-1] not in ends, len(prompt))
            for text, tokens, logs, prompt in zip(texts, token_ids, logprobs, prompts, strict=True)
        ]


def member_bytes(members: Members, count: int) -> int:
    """Bytes of one member's own tensors."""
    tensors = [part for own in members.values() for part in _parts(own)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) // count


def _parts(own: torch.Tensor | LowRank) -> tuple[torch.Tensor, ...]:
    return (own.down, own.up) if isinstance(own, LowRank) else (own,)
