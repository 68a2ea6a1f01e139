"""PEFT adapters: attached under a seed, opened from a directory, merged into their base.

One place knows what PEFT leaves open: the draw of an adapter happens under the run's own stream (PEFT draws from the
global one), an adapter of this project's tuners is opened like PEFT's own, virtual tokens are put where the harness's
decoding and TRL's losses expect none (`harness.virtual_tokens`), and what cannot be merged says so in a sentence.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.errors import UserError


def attach(model: Any, config: Any, seed: int) -> Any:
    """`model` with an adapter of PEFT `config` around it; everything random is drawn under `seed`."""
    import torch
    from peft import get_peft_model

    if hasattr(model, "peft_config"):
        raise UserError("The start model is an adapter that cannot be merged, so nothing can be trained on it.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            adapted = get_peft_model(model, config)
        except (ValueError, TypeError, NotImplementedError, AssertionError, RuntimeError) as error:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise UserError(f"PEFT cannot put {config.peft_type.value!r} around this model: {reason}") from error
    return _decodable(adapted)


def is_adapter(folder: Path) -> bool:
    """Whether a directory holds a PEFT adapter."""
    return (folder / "adapter_config.json").exists()


def adapter_config(folder: Path) -> dict[str, Any]:
    """The adapter_config.json of a directory; UserError if there is none."""
    if not is_adapter(folder):
        raise UserError(f"{folder} holds no adapter_config.json, so it is no PEFT adapter.")
    return dict(json.loads((folder / "adapter_config.json").read_text()))


def open_adapter(model: Any, folder: Path, trainable: bool = False) -> Any:
    """`model` with the adapter of a directory; UserError if the adapter was made for another base."""
    from peft import PeftModel

    from harness.parts import register_tuners

    adapter_config(folder)
    register_tuners()
    try:
        adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"The adapter {folder} does not fit this model: {_mismatch(error)}") from error
    return _decodable(adapted)


def merged(model: Any) -> Any:
    """The base with the adapter merged in; UserError where that is mathematically impossible."""
    kind = model.active_peft_config.peft_type.value.lower().replace("_", "-")
    if model.active_peft_config.is_prompt_learning or not hasattr(model, "merge_and_unload"):
        raise UserError(f"{kind!r} cannot be merged: virtual tokens are no part of any weight. Use --to peft.")
    try:
        return model.merge_and_unload()
    except (NotImplementedError, AttributeError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".") or "PEFT has no merge for it"
        raise UserError(f"{kind!r} cannot be merged: {reason}. Use --to peft.") from error


def _decodable(model: Any) -> Any:
    if model.active_peft_config.is_prompt_learning:
        from harness.virtual_tokens import align

        align(model)
    return model


def _mismatch(error: Exception) -> str:
    """The first layer whose shape differs, or else the first line of what PEFT says."""
    lines = [line.strip() for line in str(error).split("\n") if line.strip()]
    sized = [line for line in lines if "size mismatch" in line]
    return (sized or lines or [type(error).__name__])[0].rstrip(":")
