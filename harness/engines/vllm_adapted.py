"""Every prompt answered by vLLM with the adapter that a generator writes for its own text, as one multi-LoRA batch.

Same call as the adapted engine's. Equal texts share an adapter; `slots` different ones are there at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from harness.contracts import Completion, Prompt, Sampling
from harness.engines.hf import encode, end_ids
from harness.engines.vllm import check_positions, completions, parameters
from harness.engines.vllm_form import plain_weights, rank_of
from harness.engines.vllm_server import RANKS, server_for
from harness.errors import UserError
from harness.streams import stream

if TYPE_CHECKING:
    from harness.lora_files import LoraAdapter
    from harness.policy import Policy


class VLLMAdapted:
    """Generates with the base of a generator's policy and one text's adapter a prompt."""

    name = "vllm"

    def __init__(self, policy: Policy, slots: int = 32) -> None:
        self.policy = policy
        self.slots = slots

    def generate(
        self,
        prompts: Sequence[Prompt],
        texts: Sequence[str],
        sampling: Sampling,
        seed: int,
        places: Sequence[int] | None = None,
    ) -> list[Completion]:
        """One completion a prompt, in order, under the adapter of the text at the same place."""
        different = list(dict.fromkeys(texts))
        found: dict[int, Completion] = {}
        streams = range(len(prompts)) if places is None else places
        for start in range(0, len(different), self.slots):
            group = different[start : start + self.slots]
            rows = [row for row, text in enumerate(texts) if text in group]
            members = [group.index(texts[row]) for row in rows]
            answers = self._group(
                [prompts[row] for row in rows], members, group, [streams[row] for row in rows], sampling, seed
            )
            found.update(zip(rows, answers, strict=True))
        return [found[row] for row in range(len(prompts))]

    def _group(
        self,
        prompts: list[Prompt],
        members: list[int],
        texts: list[str],
        streams: list[int],
        sampling: Sampling,
        seed: int,
    ) -> list[Completion]:
        generator: Any = self.policy.model
        with torch.inference_mode():
            written = generator.write(texts)
        adapters: list[LoraAdapter] = [written.adapter(place, None) for place in range(len(texts))]
        rank = max(map(rank_of, adapters))
        if rank > RANKS[-1]:
            raise UserError(f"vLLM has room for adapters of rank {RANKS[-1]}, a text has one of {rank}: use engine hf.")
        tokenizer, base = self.policy.tokenizer, generator.base
        ids, ends = [encode(tokenizer, prompt) for prompt in prompts], end_ids(base, tokenizer)
        server = server_for(base, rank, len(adapters), self.policy.tensor_parallel)
        check_positions(server, ids, sampling)
        server.load(plain_weights(base))
        requests = server.adapt(adapters)
        if requests is None:
            raise UserError(f"vLLM has no place for the adapters that {generator.kind!r} writes: use the engine hf.")
        settings = parameters(sampling, ends, [stream(seed, place) for place in streams])
        outputs = server.answer(ids, settings, [requests[member] for member in members])
        return completions(tokenizer, ids, outputs, sampling, ends)
