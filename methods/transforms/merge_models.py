"""Merging whole models: transformers directories of one architecture into another, file by file of the base's.

Tensors are read one at a time, so that a merge needs the memory of one tensor of each model. The report counts the
entries that the merge should have moved and those of them that the base's number type swallowed: small updates vanish
in bfloat16.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError
from methods.transforms.merge import Recipe, merged_weight


@dataclass(frozen=True)
class Report:
    """Entries that should have moved, and those that the cast to the base's type left where they were."""

    moved: int
    swallowed: int

    @property
    def share(self) -> float:
        """Share of the entries to be moved that were swallowed."""
        return self.swallowed / self.moved if self.moved else 0.0


def merge_models(recipe: Recipe, base: Path, models: Sequence[Path], out: Path) -> Report:
    """Write the merged model to the new directory `out`; UserError if the models differ in a tensor's name or shape."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    from harness.streams import generator

    out.mkdir(parents=True, exist_ok=True)
    for file in base.iterdir():
        if file.is_file() and file.suffix != ".safetensors":
            shutil.copyfile(file, out / file.name)
    moved = swallowed = 0
    with ExitStack() as stack:
        readers = [_Reader(model, stack) for model in models]
        for file in sorted(base.glob("*.safetensors")):
            merged = {}
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - safe_open is no mapping
                    own = opened.get_tensor(name)
                    others = [reader.tensor(name, own.shape) for reader in readers]
                    if not own.is_floating_point():
                        merged[name] = own
                        continue
                    try:
                        merged[name], more, lost = merged_weight(recipe, own, others, generator(recipe.seed, name))
                    except ValueError as error:
                        raise UserError(f"{name!r} cannot be merged: {error}.") from None
                    moved, swallowed = moved + more, swallowed + lost
                metadata = opened.metadata()
            save_file(merged, out / file.name, metadata=metadata)
    return Report(moved, swallowed)


class _Reader:
    """The tensors of one model's directory, by name."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        from safetensors import safe_open

        self.folder = folder
        self.files: dict[str, Any] = {}
        for file in sorted(folder.glob("*.safetensors")):
            opened = stack.enter_context(safe_open(file, framework="pt"))
            self.files |= dict.fromkeys(opened.keys(), opened)
        if not self.files:
            raise UserError(f"{folder} has no safetensors file, so it is no model that can be merged.")

    def tensor(self, name: str, shape: Any) -> Any:
        if name not in self.files:
            raise UserError(f"{self.folder} has no tensor {name!r}: it is not a model of the base's architecture.")
        found = self.files[name].get_tensor(name)
        if found.shape != shape:
            raise UserError(f"{name!r} is {tuple(found.shape)} in {self.folder} and {tuple(shape)} in the base.")
        return found
