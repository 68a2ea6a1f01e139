"""The population engine: many perturbed members of one model answer in one batch, the base is never mutated.

Every row of the batch belongs to a member; a perturbed linear, embedding or norm layer computes its rows with its
member's own tensor (one batched product), every other layer is shared by all. So LoRA members share the base's
products and differ in their factors, by the same code as full members. Where a layer of an unknown kind is
perturbed, or the members do not fit `memory_bytes`, members are answered in smaller groups, down to one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from harness.contracts import Completion, Prompt, Sampling
from harness.engines.hf import complete, encode, uniforms

Tensors = dict[str, torch.Tensor]


class PopulationEngine:
    """Answers the same prompts by every member of a population."""

    name = "population"

    def __init__(
        self, model: Any, tokenizer: PreTrainedTokenizerBase, rows: int = 512, memory_bytes: int = 2**29
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.rows = rows
        self.memory_bytes = memory_bytes

    def group_size(self, tensors: Tensors, prompts: int) -> int:
        """How many members one batch holds."""
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        if not supported(self.model, tensors):
            return 1
        return max(1, min(self.rows // max(1, prompts), self.memory_bytes // size))

    def generate(
        self, members: Tensors, count: int, prompts: Sequence[Prompt], sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """`members` holds tensors [count, *shape] by parameter name; returns one list of completions a member.

        Greedy answers equal those of the merged model up to floating-point summation order. In sampling, every
        member's n-th prompt uses the same random numbers.
        """
        ids = [encode(self.tokenizer, prompt) for prompt in prompts]
        training = self.model.training
        self.model.eval()
        try:
            with members_of(self.model, members, count):
                uniform = uniforms(sampling, seed, [*range(len(ids))] * count)
                answers = complete(self.model, self.tokenizer, ids * count, sampling, uniform, members=count)
        finally:
            self.model.train(training)
        return [answers[i * len(ids) : (i + 1) * len(ids)] for i in range(count)]


def supported(model: Any, names: Iterator[str] | Tensors) -> bool:
    """Whether every perturbed tensor lies in a layer whose rows can be computed with their member's own tensor."""
    owners = _owners(model, set(names))
    return all(_batched(module, attribute) is not None for places in owners.values() for module, attribute in places)


@contextmanager
def members_of(model: Any, members: Tensors, count: int) -> Iterator[None]:
    """Inside, row r of any batch of `model` is computed by member r // (rows / count)."""
    owners = _owners(model, set(members))
    if count == 1:
        with _copied(model, {name: tensor[0] for name, tensor in members.items()}):
            yield
        return
    patched: dict[nn.Module, Tensors] = {}
    for name, places in owners.items():
        for module, attribute in places:
            patched.setdefault(module, {})[attribute] = members[name]
    try:
        for module, tensors in patched.items():
            build = _batched(module, next(iter(tensors)))
            if build is None:
                raise TypeError(f"a population cannot be batched through {type(module).__name__}")
            module.forward = build(module, tensors, count)
        yield
    finally:
        for module in patched:
            module.__dict__.pop("forward", None)


@contextmanager
def _copied(model: Any, values: Tensors) -> Iterator[None]:
    """One member at a time: its tensors are copied in, the originals are copied back (never subtracted)."""
    parameters = dict(model.named_parameters())
    originals = {name: parameters[name].detach().clone() for name in values}
    try:
        with torch.no_grad():
            for name, value in values.items():
                parameters[name].copy_(value)
        yield
    finally:
        with torch.no_grad():
            for name, original in originals.items():
                parameters[name].copy_(original)


def _owners(model: Any, names: set[str]) -> dict[str, list[tuple[nn.Module, str]]]:
    """Where each named tensor is used; a tied tensor has several places."""
    wanted = {id(tensor): name for name, tensor in model.named_parameters() if name in names}
    owners: dict[str, list[tuple[nn.Module, str]]] = {name: [] for name in names}
    for module in model.modules():
        for attribute, tensor in module.named_parameters(recurse=False, remove_duplicate=False):
            if id(tensor) in wanted:
                owners[wanted[id(tensor)]].append((module, attribute))
    missing = [name for name, places in owners.items() if not places]
    if missing:
        raise KeyError(f"the model has no tensor {missing[0]!r}")
    return owners


Build = Callable[[Any, Tensors, int], Callable[[torch.Tensor], torch.Tensor]]


def _batched(module: nn.Module, attribute: str) -> Build | None:
    if type(module) is nn.Linear:
        return _linear
    if type(module) is nn.Embedding:
        return _embedding
    if attribute == "weight" and _scales_by_weight(module):
        return _norm
    return None


def _linear(module: nn.Linear, tensors: Tensors, count: int) -> Callable[[torch.Tensor], torch.Tensor]:
    weight = tensors.get("weight", module.weight.expand(count, -1, -1)).transpose(1, 2)
    bias = tensors.get("bias", None if module.bias is None else module.bias.expand(count, -1))

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        grid = inputs.reshape(count, -1, inputs.shape[-1])
        out = torch.bmm(grid, weight) if bias is None else torch.baddbmm(bias[:, None], grid, weight)
        return out.reshape(*inputs.shape[:-1], -1)

    return forward


def _embedding(module: nn.Embedding, tensors: Tensors, count: int) -> Callable[[torch.Tensor], torch.Tensor]:
    table = tensors["weight"]
    size = table.shape[1]
    flat = table.reshape(-1, table.shape[-1])

    def forward(ids: torch.Tensor) -> torch.Tensor:
        member = torch.arange(count, device=ids.device).repeat_interleave(ids.shape[0] // count)
        return flat[ids + (member * size).view(-1, *([1] * (ids.ndim - 1)))]

    return forward


def _norm(module: nn.Module, tensors: Tensors, count: int) -> Callable[[torch.Tensor], torch.Tensor]:
    weight = tensors["weight"]
    plain = type(module).forward
    unit = torch.ones_like(module.weight)

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        original = module.weight.data
        module.weight.data = unit
        try:
            normed = plain(module, inputs)
        finally:
            module.weight.data = original
        scale = weight.repeat_interleave(inputs.shape[0] // count, 0)
        return normed * scale.view(inputs.shape[0], *([1] * (inputs.ndim - 2)), -1)

    return forward


def _scales_by_weight(module: nn.Module) -> bool:
    """Whether the layer's output is its weight times something that the weight has no part in (an RMS norm)."""
    if "norm" not in type(module).__name__.lower() or [n for n, _ in module.named_parameters(recurse=False)] != [
        "weight"
    ]:
        return False
    probe = torch.linspace(-1, 1, module.weight.numel(), dtype=module.weight.dtype, device=module.weight.device)[None]
    original = module.weight.data
    with torch.no_grad():
        try:
            module.weight.data = torch.zeros_like(original)
            vanishes = not module(probe).any()
            module.weight.data = torch.ones_like(original)
            one = module(probe)
            module.weight.data = torch.full_like(original, 2.0)
            return bool(vanishes and torch.allclose(module(probe), 2 * one))
        finally:
            module.weight.data = original
