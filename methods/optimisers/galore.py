"""GaLore: Adam on the gradient's projection to a low-rank subspace that follows it (Zhao et al. 2024).

arXiv 2403.03507, section 4, algorithm 2: every `gap` updates P = the first r left singular vectors of the gradient (the
right ones of a tall matrix); Adam's moments are kept for R = P^T G alone, and W <- W - lr * scale * P Adam(R). Linear
layers' matrices are projected, everything else has AdamW, as in the paper's experiments; rank 128, gap 200 and scale
0.25 are theirs (section 5). A matrix with no dimension above the rank is left to AdamW.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from harness.contracts import Signal
from harness.parameters import Search
from harness.parts import optimiser
from methods.optimisers.adam_direction import adam_direction
from methods.optimisers.adamw import over_the_budget

if TYPE_CHECKING:
    from harness.context import StageContext

SubspaceRank = Annotated[int, Field(ge=1), Search(4, 512, log=True), "rank of the subspace of the gradients"]
Gap = Annotated[int, Field(ge=1), "updates between two choices of the subspace"]
SubspaceScale = Annotated[float, Field(gt=0), Search(0.1, 1.0, log=True), "factor on projected updates"]


@dataclass(frozen=True)
class GaLore:
    """Low-memory full fine-tuning: no parameterisation but `full` has matrices worth projecting."""

    learning_rate: float
    schedule: Literal["constant", "linear"]
    rank: int
    gap: int
    scale: float
    name = "galore"
    takes: Signal = "gradient"
    parameterisations = ("full",)

    def create(self, stage: StageContext) -> tuple[Any, Any]:
        """The torch optimiser and its schedule."""
        tables = {id(module.weight) for module in _tables(stage.policy.model)}
        tensors = list(stage.policy.tensors().values())
        projected = [t for t in tensors if t.ndim == 2 and id(t) not in tables and min(t.shape) > self.rank]
        chosen = {id(t) for t in projected}
        groups = [
            {"params": projected, "rank": self.rank, "gap": self.gap, "scale": self.scale},
            {"params": [t for t in tensors if id(t) not in chosen], "rank": None, "gap": None, "scale": 1.0},
        ]
        built = projected_adam([group for group in groups if group["params"]], self.learning_rate)
        return built, over_the_budget(stage, built, self.schedule)

    def describe(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "schedule": self.schedule,
            "rank": self.rank,
            "gap": self.gap,
            "scale": self.scale,
        }


def _tables(model: Any) -> list[Any]:
    """Input embedding and output head."""
    return [one for one in (model.get_input_embeddings(), model.get_output_embeddings()) if one is not None]


def projected_adam(groups: list[dict[str, Any]], learning_rate: float) -> Any:
    """The torch optimiser: groups with a `rank` are projected, those without are plain Adam."""
    import torch

    class ProjectedAdam(torch.optim.Optimizer):
        """Adam, in a subspace where a group has a rank."""

        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            loss = None if closure is None else closure()
            for group in self.param_groups:
                for tensor in group["params"]:
                    if tensor.grad is not None:
                        self._move(tensor, self.state[tensor], group)
            return loss

        def _move(self, tensor: torch.Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
            gradient = tensor.grad.float()  # type: ignore[union-attr]
            if group["rank"] is not None:
                if int(state.get("step", 0)) % group["gap"] == 0:
                    state["basis"] = subspace(gradient, group["rank"])
                gradient = project(gradient, state["basis"])
            update = adam_direction(gradient, state)
            if group["rank"] is not None:
                update = back(update, state["basis"], tensor.shape)
            tensor.add_(update.to(tensor.dtype), alpha=-group["lr"] * group["scale"])

    return ProjectedAdam(groups, {"lr": learning_rate})


def subspace(gradient: Any, rank: int) -> Any:
    """The first `rank` singular vectors of the shorter side, [short, rank]."""
    import torch

    u, _, vh = torch.linalg.svd(gradient, full_matrices=False)
    return u[:, :rank].contiguous() if gradient.shape[0] <= gradient.shape[1] else vh[:rank].T.contiguous()


def project(gradient: Any, basis: Any) -> Any:
    """P^T G, or G P of a tall matrix."""
    return basis.T @ gradient if gradient.shape[0] <= gradient.shape[1] else gradient @ basis


def back(update: Any, basis: Any, shape: Any) -> Any:
    """P N, or N P^T of a tall matrix."""
    return basis @ update if shape[0] <= shape[1] else update @ basis.T


@optimiser("galore", version=1, source="Zhao et al. 2024, arXiv 2403.03507, section 4")
def galore(
    learning_rate: float,
    schedule: Literal["constant", "linear"],
    rank: SubspaceRank = 128,
    gap: Gap = 200,
    scale: SubspaceScale = 0.25,
) -> GaLore:
    """Adam in a low-rank subspace that follows the gradient."""
    return GaLore(learning_rate, schedule, rank, gap, scale)
