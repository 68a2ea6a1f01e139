"""`generated`: a LoRA that starts from what a trained generator writes for a text or a document, and is trained on.

`generated+sft`, `generated+grpo`, `generated+es -p generator=RUN -p text="..."` (or `-p document=FILE`): rank, scale
and adapted layers are the generator's, the update starts from its adapter instead of from zero. The generator's
content enters a run's identity, not its place; so does the document's.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

from harness.errors import UserError
from harness.generators import find_generator, generator_folder
from harness.parameters import DataPath
from harness.parts import parameterisation
from methods.parameterisations.lora import TENFOLD, lora

if TYPE_CHECKING:
    from harness.policy import Policy
    from harness.spec import ModelReference

GeneratorRun = Annotated[
    str | None, DataPath(), AfterValidator(generator_folder), "directory of a finished run that trained a generator"
]
Text = Annotated[str | None, "the text that the generator reads"]
DocumentFile = Annotated[str | None, DataPath(), "file with the document that the generator reads, in place of text"]


@dataclass(frozen=True)
class Generated:
    """An adapter from a generator, trainable."""

    generator: str | None
    text: str | None = None
    document: str | None = None
    name = "generated"
    mergeable = True

    def refuses(self, task: Any, model: ModelReference | None) -> str | None:
        """No generator or one for another base, no text or two."""
        if self.generator is None:
            return "'generated' needs generator=RUN: the directory of a finished run that trained a generator"
        if (self.text is None) == (self.document is None):
            return "'generated' needs text=TEXT or document=FILE, one of the two"
        if not self._read().strip():
            return "'generated' reads a text, the one that was given is empty"
        return None if model is None else find_generator(self.generator).refuses(model)

    def attach(self, policy: Policy, seed: int) -> Policy:
        """The policy with the generated adapter on it; nothing is drawn."""
        from harness.adapters import open_adapter

        with tempfile.TemporaryDirectory() as folder:
            write_adapters(str(self.generator), policy, [self._read()], [Path(folder)])
            model = open_adapter(policy.model, Path(folder), trainable=True)
        return replace(policy, model=model, kind="adapter")

    def of_its_shape(self, tokenizer: Any) -> Any:
        """A LoRA with the same tensors, for who asks for no more; LookupError where the generator's card says too
        little."""
        targets, rank = find_generator(str(self.generator)).extent(tokenizer, self._read())
        return lora(rank, float(rank), ",".join(targets))

    def _read(self) -> str:
        return self.text if self.document is None else Path(self.document).read_text(encoding="utf-8")  # type: ignore[return-value]

    def describe(self) -> dict[str, Any]:
        return {"generator": self.generator, "text": self.text, "document": self.document}


def write_adapters(place: str, policy: Policy, texts: list[str], folders: list[Path]) -> None:
    """The adapters that the generator at `place` writes for `texts`, for `policy`'s model, a PEFT directory each."""
    import torch

    if hasattr(policy.model, "peft_config"):
        raise UserError("The start model is an adapter that cannot be merged, so no adapter can be put on it.")
    with torch.inference_mode():
        adapters = find_generator(place).open(policy.model, policy.tokenizer).write_to_keep(texts)
    for number, folder in enumerate(folders):
        adapters.adapter(number, str(policy.start)).write(folder)


@parameterisation("generated", version=1, source="Charakorn et al. 2025, arXiv 2506.06105", scales=TENFOLD)
def generated(generator: GeneratorRun = None, text: Text = None, document: DocumentFile = None) -> Generated:
    """A LoRA that starts from what a generator writes for a text."""
    return Generated(generator, text, document)
