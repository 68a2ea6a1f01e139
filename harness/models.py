"""Models by name: shipped lab models, a local directory (a model, an adapter, a generator), or a name on the Hub.

`load_model(name)` resolves a name to files and to the revision that enters a run's identity: the hash of the weights
for a local directory, the commit for a Hub model. Weights are read only when `.model()` is called. Code that a model
brings with it is never executed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UserError, unknown
from harness.spec import ModelReference

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LinearLayers = dict[str, tuple[int, int]]
WEIGHTS = Path(__file__).parent / "lab" / "weights"
BASE = "base"
"""Where the base of an adapter lies, inside its directory, if it is no model that has a name."""


@dataclass(frozen=True)
class ModelHandle:
    """A resolved model: its name, where its files are and the revision they stand for."""

    name: str
    path: Path
    revision: str

    def reference(self) -> ModelReference:
        """What enters the identity of a run."""
        return ModelReference(name=self.name, revision=self.revision)

    def configuration(self) -> dict[str, Any]:
        """The model's config.json."""
        return dict(json.loads((self.path / "config.json").read_text()))

    @property
    def parameters(self) -> int:
        """Number of parameters, read from the headers of the safetensors files."""
        return _parameter_count(self.path)

    def linear_layers(self) -> LinearLayers:
        """Name and (outputs, inputs) of every linear layer but the head, from the headers of the safetensors files."""
        return _linear_layers(self.path, self.configuration())

    @property
    def has_chat_template(self) -> bool:
        return (self.path / "chat_template.jinja").exists() or "chat_template" in _tokenizer_config(self.path)

    def model(self, **options: Any) -> PreTrainedModel:
        """The causal language model in float32 (pass `dtype=` for another), without any code of its own."""
        import torch
        from transformers import AutoModelForCausalLM

        options.setdefault("dtype", torch.float32)
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(self.path, trust_remote_code=False, **options)
        return model

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, padding on the left as generation needs it."""
        from transformers import AutoTokenizer

        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(self.path, trust_remote_code=False)
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer


@dataclass(frozen=True)
class _OnABase(ModelHandle):
    """What lies in a directory of its own and needs a base model."""

    base: ModelHandle

    def configuration(self) -> dict[str, Any]:
        return self.base.configuration()

    @property
    def parameters(self) -> int:
        return self.base.parameters

    @property
    def has_chat_template(self) -> bool:
        return self.base.has_chat_template

    def linear_layers(self) -> LinearLayers:
        return self.base.linear_layers()

    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.base.tokenizer()


@dataclass(frozen=True)
class AdapterHandle(_OnABase):
    """A PEFT adapter directory as a model: its base with the adapter merged in, or kept on it where it cannot be."""

    def model(self, **options: Any) -> PreTrainedModel:
        from harness.adapters import merged, open_adapter

        adapted = open_adapter(self.base.model(**options), self.path)
        try:
            return merged(adapted)  # type: ignore[no-any-return]
        except UserError:  # what cannot be merged answers the same with its adapter on it; it cannot be trained
            return adapted  # type: ignore[no-any-return]


@dataclass(frozen=True)
class TrainedGenerator(_OnABase):
    """A trained generator as a model: its hypernetwork beside its base, to be scored as it is."""

    def model(self, **options: Any) -> Any:
        from harness.generators import find_generator

        return find_generator(self.path).open(self.base.model(**options), self.base.tokenizer())


def load_model(name: str) -> ModelHandle:
    """Resolve `name`; raises UserError when there is no such model or it cannot be had."""
    shipped = WEIGHTS / name
    if name in shipped_models():
        return ModelHandle(name, shipped, _digest(shipped))
    local = Path(name)
    if local.is_dir():
        if (local / "adapter_config.json").exists():
            return _adapter(local)
        if (trained := _generator(local)) is not None:
            return trained
        if (local / "spec.json").exists() and (local / "model").is_dir():
            return load_model(str(local / "model"))  # of a run
        if not (local / "config.json").exists():
            raise UserError(f"{name} holds no config.json, so it is not a transformers model directory.")
        return ModelHandle(str(local), local, _digest(local))
    if name.count("/") == 1 and not name.startswith((".", "/")):
        return _from_hub(name)
    raise unknown(
        "model", name, shipped_models(), "beyondrl list models; or a local directory; or OWNER/NAME on the Hub"
    )


def shipped_models() -> dict[str, Path]:
    """The models that come with the project, by name."""
    return {path.parent.name: path.parent for path in sorted(WEIGHTS.glob("*/config.json"))}


def base_of(folder: Path, otherwise: str) -> ModelHandle:
    """The base of the adapter in `folder`: the one that was kept beside it, or the model `otherwise`."""
    return load_model(str(folder / BASE) if (folder / BASE).is_dir() else otherwise)


def _adapter(folder: Path) -> AdapterHandle:
    base_name = json.loads((folder / "adapter_config.json").read_text()).get("base_model_name_or_path")
    if not base_name:
        raise UserError(f"The adapter {folder} does not say which base it was made for (adapter_config.json).")
    base = base_of(folder, str(base_name))
    files = [folder / "adapter_config.json", *sorted(folder.glob("adapter_model.*"))]
    return AdapterHandle(str(folder), folder, _revision_on(base, files), base)


def _generator(place: Path) -> TrainedGenerator | None:
    """The generator of a run's directory or of its `model`; None if there is none."""
    from harness.generators import find_generator, generator_folder, is_generator

    folder = Path(str(generator_folder(str(place))))
    if not is_generator(folder):
        return None
    base = find_generator(folder).base()
    files = sorted(folder.glob("generator.*"))
    return TrainedGenerator(str(folder), folder, _revision_on(base, files), base)


def _revision_on(base: ModelHandle, files: list[Path]) -> str:
    """What stands for files that need a base, and for that base."""
    own = _digest_of(tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files))
    return hashlib.sha256(f"{base.revision} {own}".encode()).hexdigest()[:16]


def _from_hub(name: str) -> ModelHandle:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model"]
    try:
        path = Path(snapshot_download(name, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"The model {name!r} is neither shipped nor a local directory, and the Hub did not give it: {reason} "
            "(beyondrl list models)"
        ) from None
    return ModelHandle(name, path, path.name)


_DECIDING = (
    "*.safetensors", "config.json", "generation_config.json", "tokenizer*", "*.jinja", "vocab*", "merges.txt",
)  # fmt: skip
"""Files that decide what a model answers; a card or a log beside them does not."""


def _digest(path: Path) -> str:
    """SHA-256 over weights, configuration, tokenizer and template, 16 hexadecimal digits."""
    files = sorted({file for pattern in _DECIDING for file in path.glob(pattern) if file.is_file()})
    return _digest_of(tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files))


@cache
def _digest_of(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Read again only if a file's time or size has changed."""
    digest = hashlib.sha256()
    for file, _, _ in files:
        digest.update(file.name.encode())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]


def _linear_layers(path: Path, configuration: dict[str, Any]) -> LinearLayers:
    """Matrices whose first extent is neither the vocabulary nor the number of positions."""
    from safetensors import safe_open

    tables = {configuration.get(key) for key in ("vocab_size", "max_position_embeddings", "n_positions")}
    found: LinearLayers = {}
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, framework="np") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
                shape = tensors.get_slice(key).get_shape()
                if len(shape) == 2 and key.endswith(".weight") and shape[0] not in tables:
                    found[key.removesuffix(".weight")] = (shape[0], shape[1])
    return found


def _parameter_count(path: Path) -> int:
    from safetensors import safe_open

    count = 0
    for file in path.glob("*.safetensors"):
        with safe_open(file, framework="np") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
                size = 1
                for extent in tensors.get_slice(key).get_shape():
                    size *= extent
                count += size
    return count


def _tokenizer_config(path: Path) -> dict[str, Any]:
    file = path / "tokenizer_config.json"
    return dict(json.loads(file.read_text())) if file.exists() else {}
