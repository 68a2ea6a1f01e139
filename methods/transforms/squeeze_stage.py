"""The squeeze as a stage of a run: the adapter that the stage before it trained, at a lower rank.

What it did stands in the record as an event: ranks, share of the squared norm kept, the largest loss of a module, and
what became of the optimiser's state. `reset` starts it afresh, which works for any optimiser. `carry` maps Adam's first
moments exactly, as gradients map: for B' = B M and A' = N A under scales s and s', m_B' = (s'/s) m_B N^T and
m_A' = (s'/s) M^T m_A; second moments have no exact map and take that of independent entries, (s'/s)^2 v_B (N * N)^T.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from methods.transforms.squeeze import Scale, Squeezed, squeeze_adapter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.context import StageContext
    from harness.lora_files import LoraAdapter
    from harness.moments import Moments
    from harness.policy import Policy


OptimiserState = Literal["reset", "carry"]


@dataclass(frozen=True)
class SqueezeStage:
    """A Transform: LoRA in, LoRA of lower rank out."""

    rank: int | None
    energy: float | None = None
    scale: Scale = "keep"
    optimiser_state: OptimiserState = "reset"
    name: str = "squeeze"
    keeps_adapter = True

    @property
    def carries_moments(self) -> bool:
        """Whether the stage before must hand on its optimiser's state."""
        return self.optimiser_state == "carry"

    def apply(self, stage: StageContext, policy: Policy) -> Policy:
        """The policy with its adapter squeezed; its tensors are trainable."""
        from harness.adapters import open_adapter
        from harness.lora_files import LoraAdapter

        source = LoraAdapter.of(policy.model)
        squeezed, lost = squeeze_adapter(source, self.rank, self.energy, self.scale)
        moments = carried(policy.moments, source, lost) if policy.moments is not None else None
        folder = stage.folder / "squeezed"
        shutil.rmtree(folder, ignore_errors=True)
        squeezed.write(folder)
        base = policy.model.unload()
        model = open_adapter(base, folder, trainable=True).eval()
        shutil.rmtree(folder)
        stage.run.events.write(
            "squeeze",
            stage=stage.index,
            ranks=sorted({one.module.rank for one in lost.values()}),
            kept=sum(one.kept for one in lost.values()) / len(lost),
            least_kept=min(one.kept for one in lost.values()),
            error=max(one.error for one in lost.values()),
            optimiser_state="reset" if moments is None else "carry",
            modules_reset=len(lost) - (0 if moments is None else len(moments.mean) // 2),
        )
        return replace(policy, model=model, kind="adapter", moments=moments)

    def describe(self) -> dict[str, Any]:
        return {"rank": self.rank, "energy": self.energy, "scale": self.scale, "optimiser_state": self.optimiser_state}


def carried(moments: Moments, source: LoraAdapter, squeezed: Mapping[str, Squeezed]) -> Moments:
    """The moments of the squeezed factors; a module whose source has a singular factor has none and starts afresh."""
    from harness.moments import Moments

    mean, square = {}, {}
    for name, one in squeezed.items():
        if one.left is None or one.right is None:
            continue
        ratio = one.module.scale / source.modules[name].scale
        up, down = (f"base_model.model.{name}.lora_{factor}.default.weight" for factor in ("B", "A"))
        left, right = (ratio * one.left).to(moments.mean[down]), (ratio * one.right).to(moments.mean[up])
        mean[up], square[up] = moments.mean[up] @ right.T, moments.square[up] @ (right * right).T
        mean[down], square[down] = left.T @ moments.mean[down], (left * left).T @ moments.square[down]
    return Moments(mean, square, moments.step)


@dataclass(frozen=True)
class Kept:
    """The parameterisation of a stage that goes on with the adapter it is given."""

    name: str = "kept"
    keeps_adapter = True

    def attach(self, policy: Policy, seed: int) -> Policy:
        """The policy as it is; nothing is drawn."""
        return policy

    def describe(self) -> dict[str, Any]:
        return {}
