"""Members in one forward pass: layers that are searched compute every row with its member's own tensor.

`members_of(model, members, count)` takes, by parameter name, a member's own tensor (stacked, [count, *shape]) or a
`LowRank` difference from the shared matrix. Linear layers share the base's product with everybody and add the
member's side path; PEFT's LoRA layers, embeddings and RMS norms likewise; any other adapter layer is mapped over its
members (`harness.engines.mapped`). The model itself is never changed, but for one member at a time: its tensors are
copied in and the originals copied back (never subtracted).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from harness.engines.layout import Layout, LowRank
from harness.engines.mapped import can_be_mapped, mapped, tuner_layers

Members = dict[str, "torch.Tensor | LowRank"]
Tensors = dict[str, torch.Tensor]
Forward = Callable[..., torch.Tensor]


@contextmanager
def members_of(model: Any, members: Members, count: int) -> Iterator[Layout]:
    """Inside, row r of a batch of `model` is computed by member r // (rows / count), or as the layout is arranged."""
    if count == 1:
        with _copied(model, members):
            yield Layout(count, next(model.parameters()).device)
        return
    with side_paths(model, members, count) as layout:
        yield layout


@contextmanager
def side_paths(model: Any, members: Members, count: int) -> Iterator[Layout]:
    """The same without ever copying: one member too has its side path, and gradients flow into the members' tensors."""
    owners = owners_of(model, members)
    layout = Layout(count, next(model.parameters()).device)
    patched: list[nn.Module] = []
    try:
        for module, forward in _forwards(model, owners, members, layout):
            module.forward = forward
            patched.append(module)
        yield layout
    finally:
        for module in patched:
            module.__dict__.pop("forward", None)


def supported(model: Any, names: Iterable[str]) -> bool:
    """Whether every searched tensor lies in a layer that can compute every row with its member's own."""
    names = list(names)
    owners = owners_of(model, names)
    words = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    unknown = [
        module
        for places in owners.values()
        for module, attribute in places
        if _kind(module, attribute) is None or (type(module) is nn.Embedding and module is not words)
    ]
    if not unknown:
        return True
    within = {id(module) for layer in tuner_layers(model) for module in layer.modules()}
    if any(id(module) not in within for module in unknown):
        return False
    parameters = dict(model.named_parameters())

    def attempt() -> None:
        members: Members = {name: parameters[name].detach()[None].expand(2, *parameters[name].shape) for name in names}
        ids = torch.zeros(4, 2, dtype=torch.long, device=next(model.parameters()).device)
        with torch.inference_mode(), members_of(model, members, 2):
            model(input_ids=ids)

    return can_be_mapped(model, names, attempt)


def owners_of(model: Any, names: Iterable[str]) -> dict[str, list[tuple[nn.Module, str]]]:
    """Where each named tensor is used; a tied tensor has several places. Raises KeyError for a name that is not."""
    owners: dict[str, list[tuple[nn.Module, str]]] = {name: [] for name in names}
    wanted = {id(tensor): name for name, tensor in model.named_parameters() if name in owners}
    for module in model.modules():
        for attribute, tensor in module.named_parameters(recurse=False, remove_duplicate=False):
            if id(tensor) in wanted:
                owners[wanted[id(tensor)]].append((module, attribute))
    missing = [name for name, places in owners.items() if not places]
    if missing:
        raise KeyError(f"the model has no tensor {missing[0]!r}")
    return owners


@contextmanager
def _copied(model: Any, members: Members) -> Iterator[None]:
    parameters = dict(model.named_parameters())
    originals = {name: parameters[name].detach().clone() for name in members}
    try:
        with torch.no_grad():
            for name, member in members.items():
                if isinstance(member, LowRank):
                    parameters[name].copy_(originals[name].float() + member.dense(1)[0].float())
                else:
                    parameters[name].copy_(member[0])
        yield
    finally:
        with torch.no_grad():
            for name, original in originals.items():
                parameters[name].copy_(original)


def _forwards(
    model: Any, owners: dict[str, list[tuple[nn.Module, str]]], members: Members, layout: Layout
) -> Iterator[tuple[nn.Module, Forward]]:
    """Every layer that must be replaced, with what replaces its forward."""
    found: dict[nn.Module, Members] = {}
    for name, places in owners.items():
        for module, attribute in places:
            found.setdefault(module, {})[attribute] = members[name]
    for wrapper in model.modules():
        factors = _lora_factors(wrapper)
        if factors is None:
            continue
        down, up = (found.get(factor, {}).get("weight") for factor in factors[:2])
        if (down is None and up is None) or isinstance(down, LowRank) or isinstance(up, LowRank):
            continue
        for factor in factors[:2]:
            found.pop(factor, None)
        yield wrapper, _lora(wrapper, factors, down, up, layout)
    named = {id(tensor): name for name, tensor in model.named_parameters()}
    for layer in tuner_layers(model):
        inside = [module for module in layer.modules() if module in found]
        if all(_kind(module, attribute) is not None for module in inside for attribute in found[module]):
            continue
        below = {name: named[id(tensor)] for name, tensor in layer.named_parameters()}
        yield layer, mapped(layer, {name: members[at] for name, at in below.items() if at in members}, layout)
        for module in inside:
            del found[module]
    for module, tensors in found.items():
        build = _kind(module, next(iter(tensors)))
        if build is None:
            raise TypeError(f"a population cannot be batched through {type(module).__name__}")
        yield module, build(module, tensors, layout)


def _kind(module: nn.Module, attribute: str) -> Callable[[Any, Members, Layout], Forward] | None:
    if type(module) is nn.Linear:
        return _linear
    if type(module) is nn.Embedding:
        return _embedding
    if attribute == "weight" and _scales_by_weight(module):
        return _norm
    return None


def _linear(module: nn.Linear, own: Members, layout: Layout) -> Forward:
    weight, bias = own.get("weight"), own.get("bias")
    shared_bias = module.bias if bias is None else None
    turned = weight.transpose(1, 2) if isinstance(weight, torch.Tensor) else None

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        rows = layout.of(inputs.shape[0])
        if turned is not None:
            outputs = rows.product(inputs, turned)
            if shared_bias is not None:
                outputs += shared_bias
        else:
            outputs = functional.linear(inputs, module.weight, shared_bias)
            if isinstance(weight, LowRank):
                rows.add_low_rank(outputs, inputs, weight)
        if isinstance(bias, torch.Tensor):
            outputs += _of_rows(bias, rows, outputs)
        return outputs

    return forward


def _embedding(module: nn.Embedding, own: Members, layout: Layout) -> Forward:
    table = own["weight"]

    def forward(ids: torch.Tensor) -> torch.Tensor:
        member = layout.of(ids.shape[0]).member.view(-1, *([1] * (ids.ndim - 1)))
        if isinstance(table, torch.Tensor):
            return table[member, ids]
        per = layout.count // len(table.up)
        up, down = table.up[member // per, ids], table.down[member.flatten() // per]
        added = torch.bmm(up.flatten(1, -2), down).view(*ids.shape, -1)
        shared = functional.embedding(ids, module.weight)
        return shared + added if per == 1 else shared + added * (1 - 2 * (member[..., None] % 2)).to(added.dtype)

    return forward


def _norm(module: nn.Module, own: Members, layout: Layout) -> Forward:
    weight = own["weight"]
    assert isinstance(weight, torch.Tensor)
    plain = type(module).forward
    unit = torch.ones_like(module.weight)

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        original = module.weight.data
        module.weight.data = unit
        try:
            normed: torch.Tensor = plain(module, inputs)
        finally:
            module.weight.data = original
        return normed * _of_rows(weight, layout.of(inputs.shape[0]), inputs)

    return forward


def _of_rows(bank: torch.Tensor, rows: Layout, like: torch.Tensor) -> torch.Tensor:
    """The vector [size] of every row's member, shaped to be added to or multiplied with `like` [rows, ..., size]."""
    return bank[rows.member].view(len(rows.member), *([1] * (like.ndim - 2)), -1)


def _lora_factors(module: nn.Module) -> tuple[nn.Linear, nn.Linear, float] | None:
    """The A, the B and the scale of a plain PEFT LoRA layer with one active adapter; None of anything else."""
    if (type(module).__module__, type(module).__name__) != ("peft.tuners.lora.layer", "Linear"):
        return None
    layer: Any = module
    active = list(layer.active_adapters)
    if len(active) != 1 or active[0] not in layer.lora_A or active[0] in layer.lora_variant:
        return None
    a, b = layer.lora_A[active[0]], layer.lora_B[active[0]]
    plain = type(a) is nn.Linear and type(b) is nn.Linear and a.bias is None and b.bias is None
    if not plain or layer.merged or layer.disable_adapters or a.weight.dtype != _dtype(layer.base_layer):
        return None
    return a, b, float(layer.scaling[active[0]])


def _dtype(module: nn.Module) -> torch.dtype | None:
    weight = getattr(module, "weight", None)
    return weight.dtype if isinstance(weight, torch.Tensor) else None


def _lora(
    module: Any,
    factors: tuple[nn.Linear, nn.Linear, float],
    down: torch.Tensor | None,
    up: torch.Tensor | None,
    layout: Layout,
) -> Forward:
    """W x + scale * B_n A_n x in one shared and two thin products; a factor that is not searched is shared too."""
    a, b, scale = factors
    first = None if down is None else down.transpose(1, 2)

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        rows = layout.of(inputs.shape[0])
        outputs: torch.Tensor = module.base_layer(inputs)
        inner = functional.linear(inputs, a.weight) if first is None else rows.product(inputs, first)
        if up is None:
            outputs.view(-1, outputs.shape[-1]).addmm_(inner.reshape(-1, inner.shape[-1]), b.weight.T, alpha=scale)
        else:
            rows.add_product(outputs, inner, up, scale)
        return outputs

    return forward


def _scales_by_weight(module: nn.Module) -> bool:
    """Whether the layer's output is its weight times something that the weight has no part in (an RMS norm)."""
    if "norm" not in type(module).__name__.lower() or [n for n, _ in module.named_parameters(recurse=False)] != [
        "weight"
    ]:
        return False
    weight: Any = module.weight
    probe = torch.linspace(-1, 1, weight.numel(), dtype=weight.dtype, device=weight.device)[None]
    original = weight.data
    with torch.no_grad():
        try:
            weight.data = torch.zeros_like(original)
            vanishes = not module(probe).any()
            weight.data = torch.ones_like(original)
            one = module(probe)
            weight.data = torch.full_like(original, 2.0)
            return bool(vanishes and torch.allclose(module(probe), 2 * one))
        finally:
            weight.data = original
