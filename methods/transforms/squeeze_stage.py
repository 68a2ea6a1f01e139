"""The squeeze as a stage of a run: the adapter that the stage before it trained, at a lower rank.

What it did stands in the record as an event: ranks, share of the squared norm kept, the largest loss of a module. The
next stage's optimiser starts afresh (`optimiser state: reset`), which works for any optimiser.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from methods.transforms.squeeze import Scale, squeeze_adapter

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness.policy import Policy


@dataclass(frozen=True)
class SqueezeStage:
    """A Transform: LoRA in, LoRA of lower rank out."""

    rank: int | None
    energy: float | None = None
    scale: Scale = "keep"
    name: str = "squeeze"
    keeps_adapter = True

    def apply(self, stage: StageContext, policy: Policy) -> Policy:
        """The policy with its adapter squeezed; its tensors are trainable."""
        from harness.adapters import open_adapter
        from harness.lora_files import LoraAdapter

        squeezed, lost = squeeze_adapter(LoraAdapter.of(policy.model), self.rank, self.energy, self.scale)
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
            optimiser_state="reset",
        )
        return replace(policy, model=model, kind="adapter")

    def describe(self) -> dict[str, Any]:
        return {"rank": self.rank, "energy": self.energy, "scale": self.scale, "optimiser state": "reset"}


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
