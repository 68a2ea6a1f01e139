"""A frozen base and the hypernetwork that writes adapters for it, as one model: the policy of the kind `generator`.

The hypernetwork is all that trains and all that is saved (`generator.safetensors` and the card `generator.json`).
Inside `applied(adapters)` every row of a batch of the base is computed with its own text's adapter, by the side paths
of the population engine; outside, and ever after, the base is itself bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from harness.engines.layout import Layout
from harness.engines.side_path import side_paths
from harness.errors import UserError
from harness.generators import CARD, WEIGHTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from harness.contracts import Generator
    from harness.generated import GeneratedAdapters
    from harness.lora_files import LoraAdapter
    from harness.spec import ModelReference


class GeneratorModel(nn.Module):
    """`base` (frozen) and `hypernetwork` (a `harness.contracts.Generator`)."""

    def __init__(self, kind: str, base: Any, hypernetwork: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.kind = kind
        self.base = base.requires_grad_(False)
        self.hypernetwork: Any = hypernetwork.to(base.device)
        self.tokenizer = tokenizer
        self.made_for: ModelReference | None = None
        """The base's name and revision, for the card."""
        self.learns_from: Mapping[str, LoraAdapter] | None = None
        """What the generator of the stage before had for each text, by the text's name; only for one that learns to
        write the same."""

    def write(self, texts: Sequence[str]) -> GeneratedAdapters:
        """The adapters of `texts`, with gradient into the hypernetwork; UserError for a text that cannot be read."""
        generator: Generator = self.hypernetwork
        return generator.write(self.base, self.tokenizer, texts)

    def write_to_keep(self, texts: Sequence[str]) -> GeneratedAdapters:
        """The same; UserError too for a text that the generator has nothing for (its optional `refuses(texts)`)."""
        refuses = getattr(self.hypernetwork, "refuses", None)
        refusal = None if refuses is None else refuses(texts)
        if refusal is not None:
            raise UserError(refusal)
        return self.write(texts)

    @contextmanager
    def applied(self, adapters: GeneratedAdapters) -> Iterator[Layout]:
        """Inside, row r of a batch of the base has adapter r // (rows / adapters), or as the layout is arranged."""
        with side_paths(self.base, adapters.members(self.base.dtype), len(adapters)) as layout:
            yield layout

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """The base's own forward."""
        return self.base(*arguments, **keywords)

    def get_base_model(self) -> Any:
        """The base, as of a PEFT model."""
        return self.base

    def state_dict(self, *arguments: Any, **keywords: Any) -> Any:
        """The hypernetwork's: the base is where it was."""
        return self.hypernetwork.state_dict(*arguments, **keywords)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        return self.hypernetwork.load_state_dict(state_dict, True, assign)

    def save_pretrained(self, folder: Path) -> None:
        """Write weights and card of the hypernetwork."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        card: dict[str, Any] = {"generator": self.kind, "configuration": dict(self.hypernetwork.configuration)}
        if self.made_for is not None:
            card["base"] = self.made_for.model_dump()
        (folder / CARD).write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)
