"""Muon: momentum of a matrix, made orthogonal, is the update; everything that is no matrix has AdamW (Jordan 2024).

https://kellerjordan.github.io/posts/muon: M <- mu M + G, N = G + mu M (Nesterov), and N = U S V^T becomes about U V^T
by five steps of Newton-Schulz, x -> a x + (b x x^T + c (x x^T)^2) x. The update of an n x m matrix is scaled by
0.2 sqrt(max(n, m)), so that an entry moves about as far as under AdamW and one learning rate serves both (Liu et al.
2025, arXiv 2502.16982, section 2.2, equation 4). Weight decay is 0, as with every optimiser here. Tensors of more than
two axes are stacks of matrices. Embeddings, the output head, biases, gains, what has a side of
1, and what a module names in `no_matrices` are none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.contracts import Signal
from harness.parts import optimiser
from methods.optimisers.adam_direction import adam_direction
from methods.optimisers.adamw import over_the_budget

if TYPE_CHECKING:
    import torch

    from harness.context import StageContext

_MOMENTUM, _STEPS, _SHARE = 0.95, 5, 0.2
_SCHULZ = (3.4445, -4.7750, 2.0315)


@dataclass(frozen=True)
class Muon:
    """Orthogonal updates of matrices."""

    learning_rate: float
    schedule: Literal["constant", "linear"]
    name = "muon"
    takes: Signal = "gradient"
    state_bytes = 4.0
    """A matrix has one float32 moment."""

    def create(self, stage: StageContext) -> tuple[Any, Any]:
        """The torch optimiser and its schedule."""
        trained = stage.policy.tensors()
        chosen = set(matrices(stage.policy.model)) & set(trained)
        groups: list[dict[str, Any]] = [{"params": [], "muon": True}, {"params": [], "muon": False}]
        for name, tensor in trained.items():
            groups[name not in chosen]["params"].append(tensor)
        built = orthogonal_momentum([group for group in groups if group["params"]], self.learning_rate)
        return built, over_the_budget(stage, built, self.schedule)

    def describe(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "schedule": self.schedule, "momentum": _MOMENTUM}


def matrices(model: Any) -> Iterator[str]:
    """Names of the parameters that are matrices, or stacks of them, which something is multiplied by."""
    from torch import nn

    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    apart = {
        f"{path}.{name}".lstrip(".")
        for path, module in model.named_modules()
        for name in getattr(module, "no_matrices", ())
    }
    for path, module in model.named_modules():
        if isinstance(module, nn.Embedding) or module is head:
            continue
        for name, tensor in module.named_parameters(recurse=False):
            whole = f"{path}.{name}".lstrip(".")
            if any(whole == one or whole.startswith(f"{one}.") for one in apart):
                continue
            if tensor.ndim >= 2 and min(tensor.shape[-2:]) > 1:
                yield whole


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """About U V^T of each [..., n, m] = U S V^T: singular values between 0.7 and 1.2, whatever they were."""
    wide = matrix.shape[-2] <= matrix.shape[-1]
    x = matrix if wide else matrix.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    a, b, c = _SCHULZ
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.mT


def orthogonal_momentum(groups: list[dict[str, Any]], learning_rate: float) -> Any:
    """The torch optimiser: groups with `muon` are matrices, the others have Adam."""
    import torch

    class OrthogonalMomentum(torch.optim.Optimizer):
        """Muon, and Adam where a group says so. On a GPU matrices are made orthogonal in bfloat16."""

        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            loss = None if closure is None else closure()
            for group in self.param_groups:
                move = self._turn if group["muon"] else adam_direction
                for tensor in group["params"]:
                    if tensor.grad is not None:
                        tensor.add_(move(tensor.grad.float(), self.state[tensor]).to(tensor.dtype), alpha=-group["lr"])
            return loss

        def _turn(self, gradient: torch.Tensor, state: dict[str, Any]) -> torch.Tensor:
            if not state:
                state["mean"] = torch.zeros_like(gradient)
            mean = state["mean"].mul_(_MOMENTUM).add_(gradient)
            ahead = gradient.add(mean, alpha=_MOMENTUM)
            return orthogonal(ahead.bfloat16() if ahead.is_cuda else ahead) * _SHARE * max(ahead.shape[-2:]) ** 0.5

    return OrthogonalMomentum(groups, {"lr": learning_rate})


@optimiser("muon", version=1, source="Jordan et al. 2024; scale of Liu et al. 2025, arXiv 2502.16982, equation 4")
def muon(learning_rate: float, schedule: Literal["constant", "linear"] = "linear") -> Muon:
    """Matrices move along their orthogonalised momentum, the rest by AdamW."""
    return Muon(learning_rate, schedule)
