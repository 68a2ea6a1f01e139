"""LoRA-Squeeze as pipelines over any method: `squeeze+sft`, `cont-squeeze+grpo`, `in-squeeze+dpo`.

Vulic et al. 2026, arXiv 2602.10993, section 3: train at a high rank and compress. `squeeze` (Post) squeezes once at
the end; `cont-squeeze` goes on training for a share of the budget after that; `in-squeeze` anneals the rank while
training, by halves (64, 32, 16, 8), each stage with an equal share of the budget. Whatever the variant, all of its
training is charged to one budget, and every stage's learning-rate schedule starts afresh; so does its optimiser, unless
`optimiser_state` is `carry`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from harness.contracts import Stage, Train
from harness.errors import UserError
from harness.parameters import Search
from harness.parts import parameterisation
from harness.spec import Budget
from methods.parameterisations.lora import TENFOLD, lora
from methods.settings import LoraAlpha, Rank, Targets
from methods.transforms.squeeze_stage import Kept, OptimiserState, SqueezeStage

if TYPE_CHECKING:
    from methods.parameterisations.tuner import Tuner

SourceRank = Annotated[int, Field(ge=1), "rank that training begins with"]
AfterShare = Annotated[float, Field(gt=0, lt=1), Search(0.05, 0.5), "share of the budget after the squeeze"]
State = Annotated[OptimiserState, "Adam's moments at a squeeze: start afresh, or map them to the new factors"]
SOURCE = "Vulic et al. 2026, arXiv 2602.10993, section 3"


@dataclass(frozen=True)
class SqueezedLora:
    """A part that makes several stages of one: training at a rank, squeezes, training on."""

    variant: Literal["squeeze", "cont-squeeze", "in-squeeze"]
    start: Tuner
    ranks: tuple[int, ...]
    """Ranks after each squeeze, descending."""
    after: float | None = None
    name: str = "squeeze"
    optimiser_state: OptimiserState = "reset"
    mergeable = True

    def expand(self, train: Train, share: float) -> tuple[Stage, ...]:
        """The stages in the place of `train`, which has `share` of the run's budget."""
        parts = {"squeeze": (1.0,), "cont-squeeze": (1 - (self.after or 0.0), self.after or 0.0)}.get(
            self.variant, (1 / (len(self.ranks) + 1),) * (len(self.ranks) + 1)
        )
        stages: list[Stage] = []
        for place, part in enumerate(parts):
            if place:
                stages.append(self._squeeze(self.ranks[place - 1]))
            last = place + 1 == len(parts)
            stages.append(
                replace(
                    train,
                    parameterisation=Kept() if place else self.start,
                    share=train.share if last and train.share is None else share * part,
                    budget=_part(train.budget, part),
                )
            )
        if self.variant == "squeeze":
            stages.append(self._squeeze(self.ranks[0]))
        return tuple(stages)

    def _squeeze(self, rank: int) -> SqueezeStage:
        return SqueezeStage(rank, optimiser_state=self.optimiser_state)

    def attach(self, policy: Any, seed: int) -> Any:
        """The adapter that training begins with."""
        return self.start.attach(policy, seed)

    def describe(self) -> dict[str, Any]:
        return {"variant": self.variant, "start": self.start.describe(), "ranks": self.ranks, "after": self.after}


def _part(budget: Budget | None, part: float) -> Budget | None:
    """A stage's own budget, divided like its share of the run's."""
    if budget is None or part == 1.0:
        return budget
    whole = {"generated_tokens", "trained_tokens", "rollouts", "steps"}
    limits = {name: limit * part for name, limit in budget.limits().items()}
    return Budget(**{name: round(limit) if name in whole else limit for name, limit in limits.items()})


def halves(source: int, target: int) -> tuple[int, ...]:
    """Ranks after each squeeze: halved until the target is reached (64 to 8: 32, 16, 8)."""
    found = []
    while source > target:
        source = max(target, source // 2)
        found.append(source)
    return tuple(found)


def _checked(rank: int, source: int) -> None:
    if rank >= source:
        raise UserError(f"A squeeze from rank {source} to rank {rank} is none: rank must be below source_rank.")


@parameterisation("squeeze", version=1, source=SOURCE, scales=TENFOLD)
def post_squeeze(
    rank: Rank = 8, source_rank: SourceRank = 64, alpha: LoraAlpha = 32.0, targets: Targets = "all-linear"
) -> SqueezedLora:
    """LoRA trained at a high rank, squeezed to a low one at the end."""
    _checked(rank, source_rank)
    return SqueezedLora("squeeze", lora(source_rank, alpha, targets), (rank,))


@parameterisation("cont-squeeze", version=1, source=SOURCE, scales=TENFOLD)
def cont_squeeze(
    rank: Rank = 8,
    source_rank: SourceRank = 64,
    after: AfterShare = 0.1,
    alpha: LoraAlpha = 32.0,
    targets: Targets = "all-linear",
    optimiser_state: State = "reset",
) -> SqueezedLora:
    """LoRA trained at a high rank, squeezed to a low one and trained on."""
    _checked(rank, source_rank)
    return SqueezedLora(
        "cont-squeeze", lora(source_rank, alpha, targets), (rank,), after, "cont-squeeze", optimiser_state
    )


@parameterisation("in-squeeze", version=1, source=SOURCE, scales=TENFOLD)
def in_squeeze(
    rank: Rank = 8,
    source_rank: SourceRank = 64,
    alpha: LoraAlpha = 32.0,
    targets: Targets = "all-linear",
    optimiser_state: State = "reset",
) -> SqueezedLora:
    """LoRA whose rank is halved by squeezes while it is trained."""
    _checked(rank, source_rank)
    return SqueezedLora(
        "in-squeeze", lora(source_rank, alpha, targets), halves(source_rank, rank), None, "in-squeeze", optimiser_state
    )
