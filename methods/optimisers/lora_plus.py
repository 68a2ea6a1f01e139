"""LoRA+: AdamW with a learning rate for B that is `ratio` times the one for A (Hayou et al. 2024).

arXiv 2402.12354, section 4: 16 is the ratio they recommend (section 5), with a learning rate somewhat below LoRA's own.
Whatever is no B, DoRA's magnitudes too, learns as A does. Named alone (`lora-plus+sft`) it moves a LoRA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from harness.contracts import Signal
from harness.errors import UserError
from harness.parameters import Search
from harness.parts import optimiser
from methods.optimisers.adamw import over_the_budget

if TYPE_CHECKING:
    from harness.context import StageContext

Ratio = Annotated[float, Field(ge=1), Search(1.0, 32.0, log=True), "learning rate of B over that of A"]


@dataclass(frozen=True)
class LoraPlus:
    """AdamW with two learning rates."""

    learning_rate: float
    schedule: Literal["constant", "linear"]
    ratio: float
    name = "lora-plus"
    takes: Signal = "gradient"
    parameterisations = ("lora", "dora", "rslora", "qlora")
    """What it can move: tensors called A and B."""

    def create(self, stage: StageContext) -> tuple[Any, Any]:
        """The torch optimiser and its schedule; UserError where there is no B."""
        import torch

        tensors = stage.policy.tensors()
        slow, fast = ([one for name, one in tensors.items() if ("lora_B" in name) == is_b] for is_b in (False, True))
        if not fast:
            raise UserError("lora-plus needs LoRA's factors A and B: use lora+lora-plus.")
        groups = [{"params": slow}, {"params": fast, "lr": self.ratio * self.learning_rate}]
        built = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=self.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
        )
        return built, over_the_budget(stage, built, self.schedule)

    def describe(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "schedule": self.schedule, "ratio": self.ratio}


@optimiser("lora-plus", version=2, source="Hayou et al. 2024, arXiv 2402.12354, section 4", companion="lora")
def lora_plus(learning_rate: float, schedule: Literal["constant", "linear"], ratio: Ratio = 16.0) -> LoraPlus:
    """LoRA's B learns faster than its A."""
    return LoraPlus(learning_rate, schedule, ratio)
