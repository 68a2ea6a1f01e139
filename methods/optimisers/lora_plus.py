"""LoRA+: AdamW with a learning rate for B that is `ratio` times the one for A (Hayou et al. 2024).

arXiv 2402.12354, section 4: 16 is the ratio they recommend (section 5), with a learning rate somewhat below LoRA's own.
PEFT's `create_loraplus_optimizer` sorts the tensors. Named alone (`lora-plus+sft`) it moves a LoRA.
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
        from peft.optimizers import create_loraplus_optimizer

        if not any("lora_B" in name for name in stage.policy.tensors()):
            raise UserError("lora-plus needs LoRA's factors A and B: use lora+lora-plus.")
        built = create_loraplus_optimizer(
            stage.policy.model, torch.optim.AdamW, lr=self.learning_rate, loraplus_lr_ratio=self.ratio,
            betas=(0.9, 0.99), weight_decay=0.0,
        )  # fmt: skip
        built.param_groups = [group for group in built.param_groups if group["params"]]
        return built, over_the_budget(stage, built, self.schedule)

    def describe(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "schedule": self.schedule, "ratio": self.ratio}


@optimiser("lora-plus", version=1, source="Hayou et al. 2024, arXiv 2402.12354, section 4", companion="lora")
def lora_plus(learning_rate: float, schedule: Literal["constant", "linear"], ratio: Ratio = 16.0) -> LoraPlus:
    """LoRA's B learns faster than its A."""
    return LoraPlus(learning_rate, schedule, ratio)
