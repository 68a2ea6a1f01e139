"""The matrices of all linear layers but the output head; embeddings, norms and biases stay as they are.

What EGGROLL searches in language models (Sarkar et al. 2025, arXiv 2511.16652, LLM experiments).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.policy import Policy


@dataclass(frozen=True)
class Matrices:
    """Weights of linear layers, in the model's own precision."""

    name = "matrices"

    def attach(self, policy: Policy, seed: int) -> Policy:
        """Linear weights become trainable, all else is frozen; nothing is drawn."""
        import torch

        policy.model.requires_grad_(False)
        head = policy.model.get_output_embeddings()
        for module in policy.model.modules():
            if isinstance(module, torch.nn.Linear) and module is not head:
                module.weight.requires_grad_(True)
        return replace(policy, kind="full")

    def describe(self) -> dict[str, Any]:
        return {"tensors": "weights of all linear layers but the output head"}


def matrices() -> Matrices:
    """The matrices of all linear layers but the head."""
    return Matrices()
