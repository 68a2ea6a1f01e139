"""LoRA: W + (alpha / rank) B A with A and B trained and W frozen (Hu et al. 2021, arXiv 2106.09685, section 4.1).

PEFT does the work: A starts from PEFT's Kaiming-uniform draw, B from zero, so the start policy is the base model.
Rank and alpha 32 with 10 times the learning rate of full fine-tuning are what Schulman et al. 2025 ("LoRA Without
Regret", Thinking Machines) found to be near the optimum for supervised and reinforcement learning alike.
"""

from __future__ import annotations

from typing import Any, Literal

from harness.parts import Factor, parameterisation
from methods.parameterisations.tuner import Tuner
from methods.settings import LoraAlpha, Match, Rank, Targets

TENFOLD = {
    "learning-rate": Factor(10.0, "Schulman et al. 2025, LoRA Without Regret: the optimum is about 10 times full's"),
    "perturbation": Factor(100.0, "lora-es: 0.1 on factors where 1e-3 moves all parameters"),
}
"""What low-rank factors need in place of full fine-tuning's settings."""
Form = Literal["lora", "dora", "rslora"]


def lora(rank: int, alpha: float, targets: Targets = "all-linear") -> Tuner:
    """Low-rank adapters of `rank`, scaled by `alpha` / `rank`."""
    return low_rank("lora", rank, alpha, targets)


def low_rank(name: Form, rank: int, alpha: float, targets: Targets) -> Tuner:
    """LoRA, or the relative of it that `name` says, with B A of `rank` on every targeted layer."""
    extra: dict[str, Any] = {"dora": {"use_dora": True}, "rslora": {"use_rslora": True}}.get(name, {})
    shown: dict[str, Any] = {"rank": rank, "alpha": alpha}
    if targets != "all-linear":
        shown["targets"] = targets
    return Tuner(
        name=name,
        peft_type="LORA",
        fields={"r": rank, "lora_alpha": alpha, "lora_dropout": 0.0, **extra},
        shown=shown,
        targets=targets,
        largest_rank=rank,
        count=lambda outputs, inputs, hidden: rank * (outputs + inputs) + (outputs if name == "dora" else 0),
        rank_of=lambda outputs, inputs, hidden: min(rank, outputs, inputs),
    )


@parameterisation("lora", version=1, source="Hu et al. 2021, arXiv 2106.09685, section 4.1", scales=TENFOLD)
def lora_part(rank: Rank = 16, alpha: LoraAlpha = 32.0, targets: Targets = "all-linear", match: Match = "") -> Any:
    """Low-rank adapters B A on all linear layers but the head."""
    if match:
        from methods.parameterisations.matched import matched

        return matched(match, alpha, targets)
    return lora(rank, alpha, targets)
