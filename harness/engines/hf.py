"""The embedded engine: a transformers model on whatever device it lies, decoded by `harness.engines.decode`.

Prompts are tokenised here (chat messages through the model's own template), sorted by length so that a batch holds
little padding, and answered in the order given. What prompt i samples follows from the seed and i, not from its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.contracts import Completion, Likelihood, Prompt, Sampling
from harness.engines.decode import decode
from harness.engines.likelihood import likelihoods
from harness.streams import generator


class HFEngine:
    """Generates with the model object it was given: the policy as it is now, weights never copied."""

    name = "hf"

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_rows: int = 128) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.batch_rows = batch_rows

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, seed: int) -> list[Completion]:
        """One completion a prompt, in order."""
        ids = [encode(self.tokenizer, prompt) for prompt in prompts]
        order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), i))
        completions: dict[int, Completion] = {}
        training = self.model.training
        self.model.eval()
        try:
            for start in range(0, len(order), self.batch_rows):
                rows = order[start : start + self.batch_rows]
                uniform = uniforms(sampling, seed, rows)
                answers = complete(self.model, self.tokenizer, [ids[i] for i in rows], sampling, uniform)
                completions.update(zip(rows, answers, strict=True))
        finally:
            self.model.train(training)
        return [completions[i] for i in range(len(ids))]

    def likelihoods(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Likelihood]:
        """How likely each continuation is after its context, answered in order."""
        texts = [(as_text(self.tokenizer, context), continuation) for context, continuation in pairs]
        return likelihoods(self.model, self.tokenizer, texts)


def uniforms(sampling: Sampling, seed: int, rows: Sequence[int]) -> torch.Tensor | None:
    """Random numbers [rows, max_new_tokens], a stream for each row number; None where decoding is greedy."""
    if sampling.temperature == 0.0:
        return None
    return torch.stack([torch.rand(sampling.max_new_tokens, generator=generator(seed, row)) for row in rows])


def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    sampling: Sampling,
    uniform: torch.Tensor | None,
    kept: Callable[[torch.Tensor], None] | None = None,
) -> list[Completion]:
    """Answer one batch of tokenised prompts; `kept` as in `decode`."""
    width = max(map(len, prompts))
    pad = tokenizer.pad_token_id
    input_ids = torch.tensor([[pad] * (width - len(row)) + row for row in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=model.device)
    ends = end_ids(model, tokenizer)
    out = decode(model, input_ids, mask, sampling, uniform, ends, kept)
    completions = []
    texts = tokenizer.batch_decode(out.token_ids, skip_special_tokens=True)
    for row, token_ids, logprobs, text in zip(prompts, out.token_ids, out.logprobs, texts, strict=True):
        if sampling.stop is not None:
            text = text.split(sampling.stop)[0]
        completions.append(Completion(text, token_ids, logprobs, token_ids[-1] not in ends, len(row)))
    return completions


def encode(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    """Token ids of a prompt; messages go through the chat template with the assistant's turn opened."""
    if isinstance(prompt, str):
        return list(tokenizer(prompt).input_ids)
    return list(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"])


def as_text(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str:
    """A prompt as the text that is tokenised."""
    if isinstance(prompt, str):
        return prompt
    return str(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False))


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Every token that ends a completion: the tokenizer's and the generation config's."""
    config = model.generation_config.eos_token_id if model.generation_config is not None else None
    listed = config if isinstance(config, list) else [config]
    return tuple(sorted({i for i in [tokenizer.eos_token_id, *listed] if i is not None}))
