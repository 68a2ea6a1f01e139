"""Adam's direction, for optimisers that are Adam in some other place: a subspace, the tensors that are no matrices.

m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2, and (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon) (Kingma & Ba
2015, arXiv 1412.6980, algorithm 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

BETAS, EPSILON = (0.9, 0.99), 1e-8


def adam_direction(gradient: torch.Tensor, state: dict[str, Any]) -> torch.Tensor:
    """The direction after one more `gradient`; `state` is filled and moved on (`step`, `mean`, `square`)."""
    import torch

    if "mean" not in state:
        state.update(step=0, mean=torch.zeros_like(gradient), square=torch.zeros_like(gradient))
    step = state["step"] = int(state["step"]) + 1
    mean = state["mean"].lerp_(gradient, 1 - BETAS[0]) / (1 - BETAS[0] ** step)
    square = state["square"].mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
    return mean / ((square / (1 - BETAS[1] ** step)).sqrt() + EPSILON)
