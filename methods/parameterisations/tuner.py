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
    """`all-linear`, `attention`, last names with commas, or None for a tuner that has no target modules."""
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
        """Layers that are not there, or a rank that a layer's dimensions do not allow, before anything is computed."""
        if model is None:
            return None
        from harness.models import load_model

        every = load_model(model.name).linear_layers()
        missing = missing_target(every, self.targets)
        if missing is not None:
            return f"{model.name} has no layer called {missing!r}; there are {', '.join(last_names(every))}"
        layers = targeted(every, self.targets or "all-linear")
        if not layers or self.largest_rank is None:
            return None
        name, (outputs, inputs) = min(layers.items(), key=lambda entry: min(entry[1]))
        if self.largest_rank > min(outputs, inputs):
            return (
                f"rank {self.largest_rank} is above the dimension of layer {name!r} ({outputs} x {inputs}): "
                f"1 to {min(outputs, inputs)} are possible"
            )
        return None


def target_modules(model: Any, targets: str) -> str | list[str]:
    """PEFT's `target_modules`: every linear layer but the head, those of the attention blocks, or those named."""
    if targets == "all-linear":
        return "all-linear"
    if targets != "attention":
        return named(targets)
    import torch
    from transformers.pytorch_utils import Conv1D

    linear = [name for name, module in model.named_modules() if isinstance(module, (torch.nn.Linear, Conv1D))]
    return sorted({".".join(name.split(".")[-2:]) for name in linear if in_attention(name)})


def targeted(layers: LinearLayers, targets: str) -> LinearLayers:
    """The layers of a model's file that `targets` names."""
    return {name: shape for name, shape in layers.items() if is_target(name, targets)}


def is_target(name: str, targets: str) -> bool:
    """Whether `targets` names the linear layer `name`."""
    if targets in ("all-linear", "attention"):
        return targets == "all-linear" or in_attention(name)
    return name.rpartition(".")[2] in named(targets)


def named(targets: str) -> list[str]:
    """The names in a list with commas."""
    return [one.strip() for one in targets.split(",") if one.strip()]


def last_names(layers: LinearLayers) -> list[str]:
    """The last parts of the names of linear layers."""
    return sorted({name.rpartition(".")[2] for name in layers})


def missing_target(layers: LinearLayers, targets: str | None) -> str | None:
    """The first name in a list of targets that no layer of a model's file has; None where nothing is listed."""
    if targets in (None, "all-linear", "attention") or not layers:
        return None
    there = last_names(layers)
    return next((one for one in named(str(targets)) or [str(targets)] if one not in there), None)


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
        if module is head or (targets is not None and not is_target(name, targets)):
            continue
        if isinstance(module, torch.nn.Linear):
            shapes.append((module.out_features, module.in_features))
        elif isinstance(module, Conv1D):
            shapes.append((int(module.weight.shape[1]), int(module.weight.shape[0])))
    return shapes
