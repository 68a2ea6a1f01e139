"""Adam-mini: Adam with one second moment a block of parameters instead of one a parameter (Zhang et al. 2024).

arXiv 2406.16793, section 2.3, algorithm 2: queries and keys are blocks by head, every other matrix by output row
(embeddings by token), a vector is one block; v is the mean of the squared gradients of a block. It uses AdamW's
settings, betas included, at half of the memory for moments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.contracts import Signal
from harness.parts import optimiser
from methods.optimisers.adam_direction import BETAS, EPSILON
from methods.optimisers.adamw import over_the_budget

if TYPE_CHECKING:
    from harness.context import StageContext

_BY_HEAD = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}


@dataclass(frozen=True)
class AdamMini:
    """One second moment a block."""

    learning_rate: float
    schedule: Literal["constant", "linear"]
    name = "adam-mini"
    takes: Signal = "gradient"
    state_bytes = 4.0
    """The first moment; there is one second moment a block."""
    parameterisations = ("full",)
    """The blocks are those of whole weight matrices."""

    def create(self, stage: StageContext) -> tuple[Any, Any]:
        """The torch optimiser and its schedule."""
        groups = [
            {"params": [tensor], "blocks": blocks(name, tensor, stage.policy.model.config)}
            for name, tensor in stage.policy.tensors().items()
        ]
        built = block_adam(groups, self.learning_rate)
        return built, over_the_budget(stage, built, self.schedule)

    def describe(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "schedule": self.schedule}


def blocks(name: str, tensor: Any, config: Any) -> int:
    """How many blocks of equal size a tensor has, along its first dimension."""
    if tensor.ndim == 1:
        return 1
    for part, count in _BY_HEAD.items():
        heads = getattr(config, count, None)
        if part in name.split(".") and heads and tensor.shape[0] % heads == 0:
            return int(heads)
    return int(tensor.shape[0])


def block_adam(groups: list[dict[str, Any]], learning_rate: float) -> Any:
    """The torch optimiser: every group holds one tensor and says in how many `blocks`."""
    import torch

    class BlockAdam(torch.optim.Optimizer):
        """Adam whose second moment is a block's mean."""

        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            loss = None if closure is None else closure()
            held = [(group, tensor) for group in self.param_groups for tensor in group["params"]]
            for group, tensor in held:
                if tensor.grad is None:
                    continue
                state, gradient = self.state[tensor], tensor.grad.float()
                if not state:
                    state["step"], state["mean"] = 0, torch.zeros_like(gradient)
                    state["square"] = gradient.new_zeros(group["blocks"])
                state["step"] += 1
                state["mean"].lerp_(gradient, 1 - BETAS[0])
                squares = gradient.view(group["blocks"], -1).square().mean(1)
                state["square"].mul_(BETAS[1]).add_(squares, alpha=1 - BETAS[1])
                corrected = state["square"] / (1 - BETAS[1] ** state["step"])
                mean = (state["mean"] / (1 - BETAS[0] ** state["step"])).view(group["blocks"], -1)
                update = (mean / (corrected.sqrt() + EPSILON)[:, None]).view_as(tensor)
                tensor.add_(update.to(tensor.dtype), alpha=-group["lr"])
            return loss

    return BlockAdam(groups, {"lr": learning_rate})


@optimiser("adam-mini", version=1, source="Zhang et al. 2024, arXiv 2406.16793, algorithm 2")
def adam_mini(learning_rate: float, schedule: Literal["constant", "linear"]) -> AdamMini:
    """Adam with one second moment a block of parameters."""
    return AdamMini(learning_rate, schedule)
