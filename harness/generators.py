"""Generators by name and by run: `@generator` registers what builds a hypernetwork, a handle opens a trained one.

A run that meta-trains a generator leaves `generator.safetensors` and `generator.json` in its `model`: which generator,
its configuration, and the base model (name and revision) that it writes adapters for. Whoever names such a run that is
none, or for another base, is told so in a sentence. No torch is imported until one is opened.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError, unknown
from harness.models import ModelHandle, base_of
from harness.spec import ModelReference

if TYPE_CHECKING:
    from harness.generator_model import GeneratorModel

CARD, WEIGHTS = "generator.json", "generator.safetensors"
Build = Callable[..., Any]
RankOf = Callable[[Mapping[str, Any], Any, str], int]
_GENERATORS: dict[str, Build] = {}
_RANKS: dict[str, RankOf] = {}


def generator(name: str, rank: RankOf | None = None) -> Callable[[Build], Build]:
    """Register `build(base, **configuration)`, which makes the hypernetwork (a `harness.contracts.Generator`) for a
    base model; what is random in it is drawn from torch's global stream. Its module imports torch inside functions.

    `rank(configuration, tokenizer, text)` is that of a text's adapter, at most, where `configuration["rank"]` is not.
    """

    def register(build: Build) -> Build:
        _GENERATORS[name] = build
        if rank is not None:
            _RANKS[name] = rank
        return build

    return register


def build_generator(name: str, base: Any, configuration: dict[str, Any]) -> Any:
    """The hypernetwork called `name` for a base model; UserError if there is none of that name."""
    from harness.registry import discover

    discover()
    if name not in _GENERATORS:
        raise unknown("generator", name, _GENERATORS)
    return _GENERATORS[name](base, **configuration)


def is_generator(folder: Path) -> bool:
    """Whether a directory holds a trained hypernetwork."""
    return (folder / CARD).is_file()


def generator_folder(place: str | None) -> str | None:
    """The hypernetwork's own folder, absolute, whether that or the directory of its run was given."""
    if place is None:
        return None
    path = Path(place).expanduser().resolve()
    return str(path / "model" if is_generator(path / "model") else path)


@dataclass(frozen=True)
class GeneratorHandle:
    """A trained generator: its kind and configuration, where it lies, and the base that it is for."""

    kind: str
    configuration: dict[str, Any]
    folder: Path
    made_for: ModelReference

    def base(self) -> ModelHandle:
        """The base model; UserError if it has changed since."""
        handle = base_of(self.folder, self.made_for.name)
        if handle.path.parent != self.folder and handle.revision != self.made_for.revision:
            raise UserError(
                f"The generator {self.folder} is for revision {self.made_for.revision} of {self.made_for.name!r}, "
                f"there is {handle.revision}: train it again."
            )
        return handle

    def refuses(self, model: ModelReference) -> str | None:
        """Why `model` cannot have its adapters, or None."""
        own = self.base().reference()
        if model.revision == own.revision:
            return None
        return f"the generator {self.folder} writes adapters for {own.name!r}, not for {model.name!r}"

    def extent(self, tokenizer: Any, text: str) -> tuple[Sequence[str], int]:
        """The last names of the layers that a text's adapter changes and its rank, at most: by the card alone.
        Raises LookupError where the card does not say."""
        from harness.registry import discover

        discover()
        rank = _RANKS[self.kind](self.configuration, tokenizer, text) if self.kind in _RANKS else None
        return self.configuration["targets"], int(self.configuration["rank"] if rank is None else rank)

    def open(self, model: Any, tokenizer: Any) -> GeneratorModel:
        """The trained hypernetwork beside `model`, its base."""
        from safetensors.torch import load_file

        from harness.generator_model import GeneratorModel

        hypernetwork = build_generator(self.kind, model, self.configuration)
        hypernetwork.load_state_dict(load_file(self.folder / WEIGHTS))
        return GeneratorModel(self.kind, model, hypernetwork, tokenizer).eval()


def find_generator(place: str | Path) -> GeneratorHandle:
    """The generator of a finished run's directory, or of its `model`; UserError if there is none."""
    folder = Path(str(generator_folder(str(place))))
    if not folder.is_dir():
        raise UserError(f"There is no directory {place}: give that of a finished run that trained a generator.")
    if not is_generator(folder) or not (folder / WEIGHTS).is_file():
        raise UserError(
            f"There is no generator in {place}: give the directory of a finished run of a method that trains one "
            "(beyondrl list methods)."
        )
    try:
        card = json.loads((folder / CARD).read_text())
        made_for = ModelReference(**card["base"])
        return GeneratorHandle(str(card["generator"]), dict(card["configuration"]), folder, made_for)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / CARD} is no card of a generator ({error}): train one with this version.") from None
