"""Adam's moments of a policy's tensors, by name: taken from an optimiser, given to another, kept in a file between.

A stage that goes on with the adapter of the last one may go on with its optimiser's state too, once a transform has
mapped it to the new tensors. Only optimisers with Adam's state (`exp_avg`, `exp_avg_sq`, `step`) have moments to give.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from harness.policy import Policy

FILE = "moments.safetensors"
_KINDS = {"exp_avg": "mean", "exp_avg_sq": "square"}


@dataclass
class Moments:
    """First and second moments by tensor name, and the number of updates behind them."""

    mean: dict[str, torch.Tensor]
    square: dict[str, torch.Tensor]
    step: int

    @classmethod
    def of(cls, policy: Policy, optimiser: Any) -> Moments | None:
        """What the optimiser holds for the policy's tensors; None if it holds no such moments."""
        mean, square, step = {}, {}, 0
        for name, tensor in policy.tensors().items():
            state = optimiser.state.get(tensor, {})
            if not _KINDS.keys() <= state.keys():
                return None
            mean[name], square[name] = state["exp_avg"].detach().clone(), state["exp_avg_sq"].detach().clone()
            step = int(state["step"])
        return cls(mean, square, step) if mean else None

    def put(self, policy: Policy, optimiser: Any) -> None:
        """Give the optimiser these moments for the tensors that have some; the others begin at zero."""
        import torch

        for name, tensor in policy.tensors().items():
            if name in self.mean:
                optimiser.state[tensor] = {
                    "step": torch.tensor(float(self.step)),
                    "exp_avg": self.mean[name].to(tensor.device, tensor.dtype).clone(),
                    "exp_avg_sq": self.square[name].to(tensor.device, tensor.dtype).clone(),
                }

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        tensors = {f"mean|{name}": one.cpu().contiguous() for name, one in self.mean.items()}
        tensors |= {f"square|{name}": one.cpu().contiguous() for name, one in self.square.items()}
        save_file(tensors, folder / FILE, metadata={"step": str(self.step)})

    @classmethod
    def load(cls, folder: Path) -> Moments | None:
        """What `save` wrote, or None if nothing was."""
        from safetensors import safe_open

        if not (folder / FILE).exists():
            return None
        found: dict[str, dict[str, torch.Tensor]] = {"mean": {}, "square": {}}
        with safe_open(folder / FILE, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118 - safe_open is no mapping
                kind, _, name = key.partition("|")
                found[kind][name] = opened.get_tensor(key)
            return cls(found["mean"], found["square"], int(opened.metadata()["step"]))
