"""Every prompt answered with the adapter that a generator writes for its own text: rows of one batch carry different
adapters.

Equal texts of a batch share an adapter; the adapters of one batch are there at a time. Answers are those of the base
with the exported adapter merged, up to floating-point summation order, and follow from seed and place as the embedded
engine's do.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from harness.contracts import Completion, Prompt, Sampling
from harness.engines.batches import BATCH_TOKENS, batches
from harness.engines.hf import complete, encode, uniforms
from harness.generator_model import GeneratorModel


class AdaptedEngine:
    """Generates with the base of a `GeneratorModel` and one text's adapter a prompt."""

    name = "adapted"

    def __init__(
        self,
        model: GeneratorModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_rows: int = 128,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        """Batches are bounded as the embedded engine's; every row reads its own prompt."""
        self.model = model
        self.tokenizer = tokenizer
        self.batch_rows = batch_rows
        self.batch_tokens = batch_tokens

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Prompt],
        texts: Sequence[str],
        sampling: Sampling,
        seed: int,
        places: Sequence[int] | None = None,
    ) -> list[Completion]:
        """One completion a prompt, in order, under the adapter of the text at the same place."""
        ids = [encode(self.tokenizer, prompt) for prompt in prompts]
        streams = range(len(ids)) if places is None else places
        completions: dict[int, Completion] = {}
        training = self.model.training
        self.model.eval()
        try:
            lengths = [len(row) for row in ids]
            for chosen in batches(lengths, self.batch_rows, self.batch_tokens, sampling.max_new_tokens):
                member = {text: n for n, text in enumerate(dict.fromkeys(texts[i] for i in chosen))}
                rows = sorted(chosen, key=lambda i: member[texts[i]])
                completions.update(
                    zip(rows, self._batch(ids, rows, texts, member, sampling, seed, streams), strict=True)
                )
        finally:
            self.model.train(training)
        return [completions[i] for i in range(len(ids))]

    def _batch(
        self,
        ids: list[list[int]],
        rows: list[int],
        texts: Sequence[str],
        member: dict[str, int],
        sampling: Sampling,
        seed: int,
        streams: Sequence[int],
    ) -> list[Completion]:
        owners = torch.tensor([member[texts[i]] for i in rows], device=self.model.base.device)
        with self.model.applied(self.model.write(list(member))) as layout:
            layout.arrange(owners)
            return complete(
                self.model.base, self.tokenizer, [ids[i] for i in rows], sampling,
                uniforms(sampling, seed, [streams[i] for i in rows]),
                lambda keep: layout.arrange(layout.member[keep]),
            )  # fmt: skip
