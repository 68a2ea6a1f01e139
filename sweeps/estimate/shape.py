"""The shape of a policy without its weights: what it holds, what may change, what a batch leaves for the backward pass.

The model is built from its configuration on torch's `meta` device, where tensors have shapes and no content, the
parameterisation is attached to it as in a run, and a forward pass says which tensors autograd keeps: so the figures are
those of the architecture, whichever it is, and no formula of ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from harness.errors import UserError

if TYPE_CHECKING:
    from harness.models import ModelHandle

_PROBE_ROWS, _PROBE_TOKENS = (2, 6), 8
"""What is kept grows with the rows; what does not grow is not the tokens'. Few tokens in a row: on `meta` attention
keeps its weights too, which a run's fused kernel does not."""
_A_TEXT = "One sentence as any other."
_NF4_BYTES = 0.5 + 0.127 / 8  # a 4-bit weight and its share of doubly quantised constants (arXiv 2305.14314, section 3)


@dataclass(frozen=True)
class Shape:
    """A policy's extents; sizes in bytes."""

    parameters: int
    trainable: int
    compute_parameters: int
    """Parameters that cost 2 operations a token forward."""
    weight_bytes: float
    kv_bytes: float
    """Keys and values of one token, all layers."""
    kept_bytes: float
    """What one token leaves for the backward pass, all layers, the logits not among it."""
    layers: int
    hidden_bytes: float
    """One token's hidden state."""
    vocabulary: int
    adapter: bool
    """Whether it is saved as an adapter beside its base."""
    text_operations: float | None = None
    """Of a generator: operations of its forward pass for one text, which take the place of those by the token."""
    read_operations: Callable[[Sequence[int]], float] | None = None
    """Of a generator that reads chunks: operations of its forward pass over chunks of so many tokens."""


def shape_of(handle: ModelHandle, parameterisation: Any) -> Shape | str:
    """The shape of the model with `parameterisation` on it, or a sentence that says why it cannot be told."""
    import torch

    part = parameterisation.plain() if hasattr(parameterisation, "plain") else parameterisation
    try:
        if hasattr(part, "of_its_shape"):
            return shape_of(handle, part.of_its_shape(handle.tokenizer()))
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.filterwarnings("ignore", message=".*copying from a non-meta parameter")  # shapes are all
            return _shape(handle, part, quantised=part is not parameterisation)
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError, NotImplementedError, UserError) as error:
        reason = str(error).strip().partition("\n")[0][:160] or type(error).__name__
        return f"{parameterisation.name} cannot be attached without weights ({reason})"


def _shape(handle: ModelHandle, part: Any, quantised: bool) -> Shape:
    import torch
    from transformers import AutoModelForCausalLM

    from harness.policy import Policy

    config = _config(handle)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    head = model.get_output_embeddings()
    linear -= head.weight.numel() if head is not None else 0
    base = sum(p.numel() for p in model.parameters())
    plain = _kept(model)
    policy = part.attach(Policy(model, handle.tokenizer(), handle.path), 0)
    kept = _kept(policy.model) if policy.trainable_parameters else 0.0
    total = policy.total_parameters
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return Shape(
        parameters=total,
        trainable=policy.trainable_parameters,
        compute_parameters=policy.compute_parameters,
        weight_bytes=(base - linear) * 4 + linear * _NF4_BYTES + (total - base) * 4 if quantised else total * 4,
        kv_bytes=2 * text.num_hidden_layers * heads * width * 4,
        kept_bytes=kept or (plain if policy.trainable_parameters else 0.0),  # 0: virtual tokens go in ahead of it
        layers=text.num_hidden_layers,
        hidden_bytes=text.hidden_size * 4,
        vocabulary=text.vocab_size,
        adapter=policy.kind == "adapter",
        text_operations=policy.model.hypernetwork.operations(policy.tokenizer, [_A_TEXT])
        if policy.kind == "generator"
        else None,
        read_operations=_reading(policy.model),
    )


def _reading(model: Any) -> Callable[[Sequence[int]], float] | None:
    network = getattr(getattr(model, "hypernetwork", None), "network", None)
    return getattr(network, "operations", None)


def _kept(model: Any) -> float:
    """Bytes a token that autograd holds after a forward pass through the layers, weights not counted."""
    few, many = (_held(model, rows) for rows in _PROBE_ROWS)
    return (many - few) / ((_PROBE_ROWS[1] - _PROBE_ROWS[0]) * _PROBE_TOKENS)


def _held(model: Any, rows: int) -> int:
    import torch

    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage  # held, so that no other takes its place
        return tensor

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    ids = torch.zeros(rows, _PROBE_TOKENS, dtype=torch.long)
    # A mask that is whole already: making one would look into the tensors, which are empty.
    mask = torch.ones(rows, 1, _PROBE_TOKENS, _PROBE_TOKENS, dtype=torch.bool)
    model.train()
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = inner.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
    held = sum(storage.nbytes() for storage in kept.values())
    del out
    return held


@cache
def _config(handle: ModelHandle) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(handle.path, trust_remote_code=False)
