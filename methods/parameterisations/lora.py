"""LoRA: W + (alpha / rank) B A with A and B trained and W frozen (Hu et al. 2021, arXiv 2106.09685, section 4.1).

PEFT does the work: A starts from PEFT's Kaiming-uniform draw, B from zero, so the start policy is the base model.
All linear layers except the output head are adapted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.policy import Policy


@dataclass(frozen=True)
class Lora:
    """Low-rank factors on every linear layer but the head."""

    rank: int
    alpha: float
    name = "lora"

    def attach(self, policy: Policy, seed: int) -> Policy:
        """Put adapters around the policy's model; A is drawn under `seed`."""
        import torch
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=self.rank, lora_alpha=self.alpha, target_modules="all-linear", lora_dropout=0.0, task_type="CAUSAL_LM"
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = get_peft_model(policy.model, config)
        return replace(policy, model=model, kind="adapter")

    def describe(self) -> dict[str, Any]:
        return {"rank": self.rank, "alpha": self.alpha}


def lora(rank: int, alpha: float) -> Lora:
    """Low-rank adapters of `rank` on all linear layers, scaled by `alpha` / `rank`."""
    return Lora(rank, alpha)
