"""A population on vLLM: members of low rank are the adapters of one multi-LoRA batch, others answer one after another.

Same calls as the population engine's. Members of an adapter that has a LoRA form are that form with each member's
tensors; members that differ from shared matrices by thin products (`LowRank`) are those products as adapters. Anything
else (full noise, a searched norm, adapters that have to be merged) is copied into the policy member by member, given to
vLLM as weights, and the policy's own are copied back, never subtracted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch

from harness.contracts import Completion, Prompt, Sampling
from harness.engines.hf import encode, end_ids
from harness.engines.layout import LowRank
from harness.engines.side_path import Members, members_of
from harness.engines.vllm import check_positions, completions, parameters
from harness.engines.vllm_form import exact_lora, is_of_adapter, merged_weights, plain_weights, rank_of
from harness.engines.vllm_server import Server, server_for
from harness.lora_files import LoraAdapter
from harness.lora_files import LowRank as Update
from harness.streams import stream

if TYPE_CHECKING:
    from harness.policy import Policy


class VLLMPopulation:
    """Answers the same prompts by every member of a population."""

    name = "vllm"

    def __init__(self, policy: Policy, slots: int = 64, memory_bytes: int = 2**29) -> None:
        """`slots` adapters of a batch at most, and the bytes that the members' own tensors may take."""
        self.policy = policy
        self.slots = slots
        self.memory_bytes = memory_bytes

    def group_size(
        self, bytes_a_member: int, names: Iterable[str], prompts: int, longest: int = 1, new_tokens: int = 0
    ) -> int:
        """How many members are made at once; vLLM bounds its batches itself."""
        return max(1, min(self.slots, self.memory_bytes // max(1, bytes_a_member)))

    def generate(
        self,
        members: Members,
        count: int,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        seed: int,
        logprobs: bool = True,
    ) -> list[list[Completion]]:
        """One list of completions a member; in sampling, every member's n-th prompt has the same seed."""
        ids = [encode(self.policy.tokenizer, prompt) for prompt in prompts]
        adapters = self._adapters(members, count)
        found = None if adapters is None else self._together(adapters, ids, sampling, seed)
        if found is not None:
            return found
        answers = []
        for member in range(count):
            with as_member(self.policy.model, members, member, count):
                self._server().load(merged_weights(self.policy.model))
            answers += self._answers(ids, sampling, seed, None, 1)
        return answers

    def _server(self, rank: int = 0, slots: int = 0) -> Server:
        return server_for(self.policy.model, rank, slots, self.policy.tensor_parallel)

    def _together(
        self, adapters: list[LoraAdapter], ids: list[list[int]], sampling: Sampling, seed: int
    ) -> list[list[Completion]] | None:
        """All members in one batch; None if vLLM has no place for one of their modules."""
        server = self._server(max(map(rank_of, adapters)), len(adapters))
        server.load(plain_weights(self.policy.model))
        requests = server.adapt(adapters)
        return None if requests is None else self._answers(ids, sampling, seed, requests, len(adapters))

    def _answers(
        self, ids: list[list[int]], sampling: Sampling, seed: int, requests: list[Any] | None, count: int
    ) -> list[list[Completion]]:
        model, tokenizer = self.policy.model, self.policy.tokenizer
        server, ends = self._server(), end_ids(model, tokenizer)
        check_positions(server, ids, sampling)
        seeds = [stream(seed, place) for place in range(len(ids))] * count
        of_rows = None if requests is None else [request for request in requests for _ in ids]
        outputs = server.answer(ids * count, parameters(sampling, ends, seeds), of_rows)
        rows = completions(tokenizer, ids * count, outputs, sampling, ends)
        return [rows[start : start + len(ids)] for start in range(0, len(rows), len(ids))]

    def _adapters(self, members: Members, count: int) -> list[LoraAdapter] | None:
        """The members as LoRA adapters over the policy's weights; None where they are not exactly that."""
        model = self.policy.model
        if not hasattr(model, "peft_config"):
            return _thin(members, count)
        if any(isinstance(own, LowRank) or not is_of_adapter(model, name) for name, own in members.items()):
            return None
        adapters = []
        for member in range(count):
            with as_member(model, members, member, count):
                adapter = exact_lora(model)
                if adapter is None:
                    return None
                adapters.append(_copied(adapter))
        return adapters


def as_member(model: Any, members: Members, member: int, count: int) -> AbstractContextManager[Any]:
    """Inside, the model is one member of the population; its own tensors are copied back at the end."""
    return members_of(model, {name: member_of(own, member, count) for name, own in members.items()}, 1)


def member_of(own: torch.Tensor | LowRank, member: int, count: int) -> torch.Tensor | LowRank:
    """One member's tensor, or difference, as a population of one."""
    if isinstance(own, torch.Tensor):
        return own[member : member + 1]
    per = count // len(own.down)
    factor, sign = member // per, -1.0 if member % per else 1.0
    return LowRank(own.down[factor : factor + 1], sign * own.up[factor : factor + 1])


def _thin(members: Members, count: int) -> list[LoraAdapter] | None:
    """Members that are thin products everywhere, as adapters."""
    adapters = []
    for member in range(count):
        modules = {}
        for name, own in members.items():
            one = member_of(own, member, count)
            if not isinstance(one, LowRank) or not name.endswith(".weight"):
                return None
            modules[name.removesuffix(".weight")] = Update(one.up[0], one.down[0], 1.0)
        adapters.append(LoraAdapter(modules))
    return adapters


def _copied(adapter: LoraAdapter) -> LoraAdapter:
    modules = {name: Update(one.up.clone(), one.down.clone(), one.scale) for name, one in adapter.modules.items()}
    return LoraAdapter(modules, adapter.config)
