"""A parameterisation that PEFT's `get_peft_model` makes: type, fields of its configuration, what it counts.

Named parameterisations (`lora`, `dora`, ...) are functions that return a `Tuner`; `peft:<type>` makes one from any of
PEFT's types. Attached under the run's own random stream. `count` is the closed form of its trainable parameters, from
which parameter-matched controls are generated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.models import LinearLayers
    from harness.policy import Policy
    from harness.spec import ModelReference

Count = Callable[[int, int, int], int]
"""A closed form on a linear layer of (outputs, inputs) in a model of some hidden size."""


@dataclass(frozen=True)
class Tuner:
    """A PEFT adapter."""

    name: str
    peft_type: str
    fields: Mapping[str, Any]
    shown: Mapping[str, Any]
    """What a record says of it."""
    mergeable: bool = True
    """Whether it can be merged into the weights, as stages that follow and `export --to hf` need it."""
    needs_gradient: str | None = None
    """Why it cannot be moved without a gradient, if it cannot."""
    targets: str | None = "all-linear"
    """`all-linear`, `attention`, or None for a tuner that has no target modules."""
    largest_rank: int | None = None
    """A rank that no layer's dimensions may fall below, or None."""
    count: Count | None = field(default=None, compare=False)
    """Trainable parameters."""
    rank_of: Count | None = field(default=None, compare=False)
    """The largest rank that its update may have."""

    def attach(self, policy: Policy, seed: int) -> Policy:
        """Put adapters around the policy's model; what is random is drawn under `seed`."""
        from harness.adapters import attach

        model = attach(policy.model, self.configuration(policy.model), seed)
        return replace(policy, model=model, kind="adapter")

    def configuration(self, model: Any) -> Any:
        """The PEFT configuration for `model`."""
        from peft import PeftType, TaskType
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

        given = dict(self.fields)
        if self.targets is not None and "target_modules" not in given:
            given["target_modules"] = target_modules(model, self.targets)
        return PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(self.peft_type)](task_type=TaskType.CAUSAL_LM, **given)

    def describe(self) -> dict[str, Any]:
        return dict(self.shown)

    def refuses(self, task: Any, model: ModelReference | None) -> str | None:
        """A rank that a layer's dimensions do not allow, named before anything is computed."""
        if model is None or self.largest_rank is None:
            return None
        from harness.models import load_model

        layers = targeted(load_model(model.name).linear_layers(), self.targets or "all-linear")
        if not layers:
            return None
        name, (outputs, inputs) = min(layers.items(), key=lambda entry: min(entry[1]))
        if self.largest_rank > min(outputs, inputs):
            return (
                f"rank {self.largest_rank} is above the dimension of layer {name!r} ({outputs} x {inputs}): "
                f"1 to {min(outputs, inputs)} are possible"
            )
        return None


def target_modules(model: Any, targets: str) -> str | list[str]:
    """PEFT's `target_modules`: every linear layer but the head, or those of the attention blocks."""
    if targets == "all-linear":
        return "all-linear"
    import torch
    from transformers.pytorch_utils import Conv1D

    linear = [name for name, module in model.named_modules() if isinstance(module, (torch.nn.Linear, Conv1D))]
    return sorted({".".join(name.split(".")[-2:]) for name in linear if in_attention(name)})


def targeted(layers: LinearLayers, targets: str) -> LinearLayers:
    """The layers of a model's file that `targets` names."""
    return {name: shape for name, shape in layers.items() if targets == "all-linear" or in_attention(name)}


def in_attention(name: str) -> bool:
    """Whether a module's path goes through an attention block."""
    return any("attn" in part or "attention" in part for part in name.split(".")[:-1])


def layer_shapes(model: Any, targets: str | None) -> list[tuple[int, int]]:
    """(outputs, inputs) of the layers of a model that `targets` names."""
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    shapes = []
    for name, module in model.named_modules():
        if module is head or not (targets != "attention" or in_attention(name)):
            continue
        if isinstance(module, torch.nn.Linear):
            shapes.append((module.out_features, module.in_features))
        elif isinstance(module, Conv1D):
            shapes.append((int(module.weight.shape[1]), int(module.weight.shape[0])))
    return shapes
