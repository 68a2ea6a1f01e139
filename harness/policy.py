"""A policy: the model being moved, its tokenizer and the declared set of tensors that may change.

`tensors()` is the one view that gradient and fitness optimisers work on. `digest` names the weights: equal digests
are equal policies. `save` writes a transformers directory, or a PEFT one for an adapter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import PreTrainedTokenizerBase

from harness.moments import Moments


@dataclass
class Policy:
    """`model` is a transformers model, a PEFT model around one, or a hypernetwork beside one (a generator)."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    start: Path
    """Directory of the weights that this policy began from: references are loaded from there."""
    kind: Literal["full", "adapter", "generator"] = "full"
    moments: Moments | None = None
    """The optimiser state that the stage before left for these tensors, where the next one goes on with it."""
    tensor_parallel: int = 1
    """Devices over which vLLM spreads the copy that it answers with; the model itself lies whole on the first."""

    def tensors(self) -> dict[str, torch.nn.Parameter]:
        """The trainable tensors by name; a tied tensor appears once."""
        return {name: tensor for name, tensor in self.model.named_parameters() if tensor.requires_grad}

    @property
    def trainable_parameters(self) -> int:
        return sum(tensor.numel() for tensor in self.tensors().values())

    @property
    def total_parameters(self) -> int:
        return sum(tensor.numel() for tensor in self.model.parameters())

    @property
    def compute_parameters(self) -> int:
        """Parameters that cost 2 operations a token in a forward pass: all but an untied input embedding.

        A hypernetwork costs by the text and not by the token: it is counted where it runs.
        """
        embedding = self.model.get_input_embeddings().weight
        head = self.model.get_output_embeddings()
        tied = head is not None and head.weight is embedding
        by_text = self.trainable_parameters if self.kind == "generator" else 0
        return self.total_parameters - by_text - (0 if tied else embedding.numel())

    def digest(self) -> str:
        """SHA-256 over all weights, in name order."""
        return digest_of(self.model.named_parameters())

    def save_merged(self, path: Path) -> None:
        """Write the weights as a plain transformers directory, an adapter merged into its base."""
        from harness.adapters import merged

        model = merged(self.model) if self.kind == "adapter" else self.model
        model.save_pretrained(path)
        self.tokenizer.save_pretrained(path)

    def save(self, path: Path) -> None:
        """Write the final weights and the tokenizer."""
        self.model.save_pretrained(path)
        self.tokenizer.save_pretrained(path)


def digest_of(named: Iterable[tuple[str, torch.Tensor]]) -> str:
    """SHA-256 over names, shapes, types and bytes of tensors, in name order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(named, key=lambda pair: pair[0]):
        data = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(data.shape)} {data.dtype}\n".encode())
        digest.update(
            data.view(torch.uint8).numpy().tobytes()
            if data.ndim
            else data.reshape(1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()
