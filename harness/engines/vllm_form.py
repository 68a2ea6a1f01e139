"""What vLLM is given for a policy: plain weights under checkpoint names, and the adapter if it is exactly a LoRA.

Served as an adapter is what has a low-rank form (LoRA, rsLoRA at its own scale, Kron-LoRA by its exact LoRA); any other
adapter that can be merged (DoRA, IA3, ...) is served as the weights that come of it, the policy itself left as it is.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from harness.adapters import merged
from harness.engines.vllm_server import RANKS
from harness.errors import UserError
from harness.lora_files import LoraAdapter

Weights = list[tuple[str, torch.Tensor]]


def plain_weights(model: Any) -> Weights:
    """The weights of a model, or of the base under an adapter or a generator, by the names of a checkpoint."""
    from transformers.core_model_loading import revert_weight_conversion

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    layers = _tuner_layers(base)
    found = {
        name.replace(".base_layer.", "."): tensor.detach()
        for name, tensor in base.named_parameters()
        if not _is_tuners(name, layers)
    }
    return list(revert_weight_conversion(base, found).items())


def is_of_adapter(model: Any, name: str) -> bool:
    """Whether a parameter of a PEFT model belongs to the adapter and not to what it is around."""
    return _is_tuners(name.removeprefix("base_model.model."), _tuner_layers(model.get_base_model()))


def exact_lora(model: Any) -> LoraAdapter | None:
    """The adapter around a model as the LoRA that it exactly is; None if there is no adapter or it is none."""
    from peft.utils.other import AuxiliaryTrainingWrapper

    if not hasattr(model, "peft_config") or model.active_peft_config.is_prompt_learning:
        return None
    base = model.get_base_model()
    if any(isinstance(module, AuxiliaryTrainingWrapper) for module in base.modules()):
        return None
    try:
        adapter = LoraAdapter.of(model)
    except UserError:
        return None
    whole = set(_tuner_layers(base)) == set(adapter.modules)
    return adapter if whole and rank_of(adapter) <= RANKS[-1] else None


def rank_of(adapter: LoraAdapter) -> int:
    """The highest rank among its modules."""
    return max(update.rank for update in adapter.modules.values())


def merged_weights(model: Any) -> Weights:
    """The weights with the adapter merged in, on a copy; UserError where there is no such thing."""
    if not hasattr(model, "peft_config"):
        return plain_weights(model)
    try:
        if model.active_peft_config.is_prompt_learning:
            merged(model)
        return plain_weights(merged(copy.deepcopy(model)))
    except UserError as error:
        kind = model.active_peft_config.peft_type.value.lower().replace("_", "-")
        raise UserError(
            f"vLLM serves LoRA and weights, and {kind!r} is no LoRA and cannot be merged: use the engine hf."
        ) from error


def _is_tuners(name: str, layers: list[str]) -> bool:
    layer = next((one for one in layers if name.startswith(f"{one}.")), None)
    return layer is not None and not name.startswith(f"{layer}.base_layer.")


def _tuner_layers(base: Any) -> list[str]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [name for name, module in base.named_modules() if isinstance(module, BaseTunerLayer)]
