"""The embedded engine: a transformers model on whatever device it lies, decoded by `harness.engines.decode`.

Prompts are tokenised here (chat messages through the model's own template), batched by length with little padding and
bounded memory (`harness.engines.batches`), and answered in the order given. What prompt i samples follows from the seed
and i, not from its batch. A beginning that all prompts share is computed once a call, a prompt that is asked several
times once a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.chat import turn_end
from harness.contracts import Completion, Likelihood, Prompt, Sampling
from harness.engines.batches import BATCH_ROWS, BATCH_TOKENS, batches
from harness.engines.decode import decode
from harness.engines.likelihood import likelihoods
from harness.engines.prefix import Prefix, shared_prefix
from harness.streams import generator


class HFEngine:
    """Generates with the model object it was given: the policy as it is now, weights never copied."""

    name = "hf"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_rows: int = BATCH_ROWS,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        """A batch holds at most `batch_rows` rows and `batch_tokens` tokens, padding and those to come included."""
        self.model = model
        self.tokenizer = tokenizer
        self.batch_rows = batch_rows
        self.batch_tokens = batch_tokens

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, seed: int, places: Sequence[int] | None = None
    ) -> list[Completion]:
        """One completion a prompt, in order; `places` name their random streams where they are a part of more."""
        places = range(len(prompts)) if places is None else places
        ids = [encode(self.tokenizer, prompt) for prompt in prompts]
        completions: dict[int, Completion] = {}
        training = self.model.training
        self.model.eval()
        try:
            prefix = shared_prefix(self.model, ids) if ids else None
            read = 0 if prefix is None else prefix.length
            names = [tuple(row) for row in ids]
            lengths, limit = [len(row) for row in ids], sampling.max_new_tokens
            for rows in batches(lengths, self.batch_rows, self.batch_tokens, limit, names, read):
                asked = {prompt: place for place, prompt in enumerate(dict.fromkeys(names[i] for i in rows))}
                answers = complete(
                    self.model, self.tokenizer, [list(prompt) for prompt in asked], sampling,
                    uniforms(sampling, seed, [places[i] for i in rows]), of=[asked[names[i]] for i in rows],
                    prefix=prefix,
                )  # fmt: skip
                completions.update(zip(rows, answers, strict=True))
        finally:
            self.model.train(training)
        return [completions[i] for i in range(len(ids))]

    def likelihoods(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Likelihood]:
        """How likely each continuation is after its context, answered in order."""
        texts = [(as_text(self.tokenizer, context), continuation) for context, continuation in pairs]
        return likelihoods(self.model, self.tokenizer, texts, self.batch_tokens)


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
    of: list[int] | None = None,
    prefix: Prefix | None = None,
) -> list[Completion]:
    """Answer one batch of tokenised prompts, or of the rows that continue prompt `of[row]`; the rest as in `decode`."""
    begins = 0 if prefix is None else prefix.length
    width = max(map(len, prompts)) - begins
    pad = tokenizer.pad_token_id
    after = [row[begins:] for row in prompts]
    input_ids = torch.tensor([[pad] * (width - len(row)) + row for row in after], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in after], device=model.device)
    ends = end_ids(model, tokenizer)
    repeated = of is not None and len(of) > len(prompts)
    out = decode(
        model, input_ids, mask, sampling, uniform, ends, kept,
        torch.tensor(of, device=model.device) if repeated else None, prefix,
    )  # fmt: skip
    completions = []
    texts = tokenizer.batch_decode(out.token_ids, skip_special_tokens=True)
    rows = prompts if of is None else [prompts[place] for place in of]
    for row, token_ids, logprobs, text in zip(rows, out.token_ids, out.logprobs, texts, strict=True):
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
    """Every token that ends a completion: the tokenizer's, the generation config's, the chat template's own."""
    config = model.generation_config.eos_token_id if model.generation_config is not None else None
    listed = config if isinstance(config, list) else [config]
    return tuple(sorted({i for i in [tokenizer.eos_token_id, *listed, turn_end(tokenizer)] if i is not None}))
