"""A small hypernetwork of the tests' own: an embedding of a text's letters, one linear head a module."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.generated import GeneratedAdapters
from harness.generators import generator
from harness.models import load_model
from harness.policy import Policy
from harness.spec import ModelReference
from methods.parameterisations.hypernetwork import hypernetwork


class Letters(nn.Module):
    """Rank 1 for a short text, 2 for a longer one."""

    def __init__(self, base: Any, width: int) -> None:
        super().__init__()
        self.configuration = {"width": width}
        self.embedding = nn.Embedding(128, width)
        shapes = {
            name: module.weight.shape for name, module in base.named_modules() if name.endswith(("q_proj", "down_proj"))
        }
        self.names = list(shapes)
        self.down = nn.ModuleList(nn.Linear(width, 2 * shape[1]) for shape in shapes.values())
        self.up = nn.ModuleList(nn.Linear(width, 2 * shape[0]) for shape in shapes.values())

    def write(self, base: Any, tokenizer: Any, texts: Sequence[str]) -> GeneratedAdapters:
        ids = [torch.tensor([ord(letter) % 128 for letter in text]) for text in texts]
        read = torch.stack([self.embedding(one).mean(0) for one in ids])
        ranks = tuple(1 if len(text) < 10 else 2 for text in texts)
        there = torch.tensor([[1.0, float(rank > 1)] for rank in ranks])
        heads = list(zip(self.names, self.down, self.up, strict=True))
        down = {name: head(read).view(len(texts), 2, -1) * there[:, :, None] for name, head, _ in heads}
        up = {name: head(read).view(len(texts), -1, 2) * there[:, None] for name, _, head in heads}
        return GeneratedAdapters(down, up, 0.7, ranks)

    def operations(self, tokenizer: Any, texts: Sequence[str]) -> float:
        return 0.0


@generator("letters")
def letters(base: Any, width: int = 8) -> Letters:
    return Letters(base, width)


def policy(seed: int = 0) -> Policy:
    handle = load_model("lab")
    start = Policy(handle.model().eval(), handle.tokenizer(), handle.path)
    return hypernetwork("letters", width=8).attach(start, seed)


def saved(tmp_path: Path, made_for: ModelReference | None = None) -> Path:
    folder = tmp_path / "run" / "model"
    made = policy()
    made.model.made_for = made_for or load_model("lab").reference()
    made.save(folder)
    return folder.parent
