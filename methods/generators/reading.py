"""What a frozen language model's blocks are given when it reads texts: its activations, without running to its end.

Number n is the input of block n (0 is the embedded text). The pass stops at the last one asked for, so an early exit
costs what the blocks before it cost. No gradient is kept, and texts are padded on the right under a mask, so that what
one text gives does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from methods.generators.targets import Kind


class _Enough(Exception):
    """Everything asked for has been read."""


def read(model: Any, kinds: Sequence[Kind], texts: Sequence[Sequence[int]], states: range) -> tuple[Any, Any]:
    """Activations [texts, states, tokens, width] in float32, and the mask [texts, tokens]."""
    width = max(map(len, texts))
    device = model.device
    ids = torch.tensor([[*text, *([0] * (width - len(text)))] for text in texts], device=device)
    mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts], device=device)
    found: dict[int, torch.Tensor] = {}
    hooks = [
        model.get_submodule(_block(kinds[0].modules[state])).register_forward_pre_hook(
            _keep(found, state, state == states[-1]), with_kwargs=True
        )
        for state in states
    ]
    try:
        with torch.no_grad():
            model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
    except _Enough:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack([found[state] for state in states], 1).float(), mask


def _keep(found: dict[int, torch.Tensor], state: int, last: bool) -> Any:
    def hook(module: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        found[state] = positional[0] if positional else named["hidden_states"]
        if last:
            raise _Enough

    return hook


def _block(module: str) -> str:
    """The name of the block that a linear layer lies in."""
    parts = module.split(".")
    place = next(place for place, part in enumerate(parts) if part.isdigit())
    return ".".join(parts[: place + 1])
