"""AdamW with its moments held in 8 bits, block by block (Dettmers et al. 2022), paged or not: bitsandbytes' own.

arXiv 2110.02861, section 2. `paged-adamw` is QLoRA's: moments that move to the host's memory when the GPU's is full
(arXiv 2305.14314, section 3). Both need bitsandbytes and a GPU and are refused elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.contracts import Signal
from harness.parts import optimiser
from methods.optimisers.adamw import over_the_budget

if TYPE_CHECKING:
    from harness.context import StageContext


@dataclass(frozen=True)
class EightBitAdamW:
    """bitsandbytes' AdamW8bit or PagedAdamW8bit."""

    learning_rate: float
    schedule: Literal["constant", "linear"]
    name: str = "adamw-8bit"
    names: ClassVar[tuple[str, ...]] = ("adamw-8bit", "paged-adamw")
    takes: Signal = "gradient"
    state_bytes: ClassVar[float] = 2.0
    """A trainable parameter's moments; their constants are a hundredth of it."""

    def refuses(self, task: Any, model: Any) -> str | None:
        from methods.parameterisations.qlora import why_not

        reason = why_not()
        return f"{reason}: use adamw" if reason else None

    def create(self, stage: StageContext) -> tuple[Any, Any]:
        """The bitsandbytes optimiser and its schedule."""
        import bitsandbytes as bnb

        kind = bnb.optim.PagedAdamW8bit if self.name == "paged-adamw" else bnb.optim.AdamW8bit
        tensors = list(stage.policy.tensors().values())
        built = kind(tensors, lr=self.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
        return built, over_the_budget(stage, built, self.schedule)

    def describe(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "schedule": self.schedule}


@optimiser("adamw-8bit", version=1, source="Dettmers et al. 2022, arXiv 2110.02861, section 2")
def eight_bit(learning_rate: float, schedule: Literal["constant", "linear"]) -> EightBitAdamW:
    """AdamW with moments of 8 bits (GPU)."""
    return EightBitAdamW(learning_rate, schedule)


@optimiser("paged-adamw", version=1, source="Dettmers et al. 2023, arXiv 2305.14314, section 3")
def paged(learning_rate: float, schedule: Literal["constant", "linear"]) -> EightBitAdamW:
    """AdamW with moments of 8 bits that can leave the GPU (GPU)."""
    return EightBitAdamW(learning_rate, schedule, "paged-adamw")
