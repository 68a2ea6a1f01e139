"""The best point of a stage's learning curve, and its weights: what early stopping goes by and returns to.

The weights of the best point so far lie in the stage's checkpoint folder as `best-<point>`, under the name of the
point, so that a run resumed from any checkpoint finds those which that checkpoint knew.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.context import StageContext

_FILE = "tensors.safetensors"


@dataclass
class BestPoint:
    """`accuracy` on val at `point`, and how many points have been `waited` for a better one since."""

    point: int | None = None
    accuracy: float = 0.0
    waited: int = 0

    def see(self, stage: StageContext, point: int, accuracy: float, min_delta: float) -> None:
        """Take note of a point just drawn; a better one than the best keeps its weights."""
        if self.point is not None and accuracy <= self.accuracy + min_delta:
            self.waited += 1
            return
        from safetensors.torch import save_file

        self.point, self.accuracy, self.waited = point, accuracy, 0
        folder = self._folder(stage)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in stage.policy.tensors().items()}
        with stage.run.meters.clock("overhead"):
            save_file(tensors, folder / _FILE)

    def restore(self, stage: StageContext) -> None:
        """Put the best point's weights into the policy."""
        import torch
        from safetensors.torch import load_file

        if self.point is None:
            return
        kept = load_file(self._folder(stage) / _FILE)
        with torch.no_grad():
            for name, tensor in stage.policy.tensors().items():
                tensor.copy_(kept[name])
        stage.run.events.write("best_point", stage=stage.index, point=self.point, accuracy=self.accuracy)

    def forget_others(self, stage: StageContext) -> None:
        """Drop the weights of points that were the best once."""
        for other in stage.folder.glob("best-*"):
            if other != self._folder(stage):
                shutil.rmtree(other)

    def _folder(self, stage: StageContext) -> Path:
        return stage.folder / f"best-{self.point}"
