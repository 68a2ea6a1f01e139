"""Generators for documents as what is trained: Doc-to-LoRA's hypernetwork, and a LoRA a text.

What can be known before anything is loaded is refused here: layers that the base does not have, chunks that are longer
than its window, latents that do not divide into heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from methods.parameterisations.hypernetwork import Hypernetwork

if TYPE_CHECKING:
    from harness.spec import ModelReference
    from methods.generators.document_network import Reader


@dataclass(frozen=True)
class ForDocuments(Hypernetwork):
    """A `Hypernetwork` that writes for documents."""

    def refuses(self, task: Any, model: ModelReference | None) -> str | None:
        """Why there can be none of this configuration, or None."""
        made_of = self.configuration
        if made_of.get("latent", 0) % made_of.get("heads", 1):
            return f"latent {made_of['latent']} does not divide into {made_of['heads']} heads: change one of them"
        if model is None:
            return None
        from harness.models import load_model

        handle = load_model(model.name)
        names = {name.rpartition(".")[2] for name in handle.linear_layers()}
        missing = next((target for target in made_of["targets"] if target not in names), None)
        if missing is not None:
            return f"{model.name} has no layer called {missing!r}; there are {', '.join(sorted(names))}"
        configuration = handle.configuration()
        window = configuration.get("text_config", configuration).get("max_position_embeddings")
        if window is not None and made_of.get("longest", 0) > window:
            return f"chunks of {made_of['longest']} tokens are longer than the window of {model.name}, {window}"
        return None


def doc_to_lora(
    targets: str, rank: int, latent: int, latents: int, blocks: int, heads: int, reader: Reader, longest: int,
    together: int, gated: bool,
) -> ForDocuments:  # fmt: skip
    """The generator `doc-to-lora` for the layers in `targets` (names with commas)."""
    sizes = {"rank": rank, "latent": latent, "latents": latents, "blocks": blocks, "heads": heads}
    reading = {"reader": reader, "longest": longest, "together": together, "gated": gated}
    return ForDocuments("doc-to-lora", {"targets": _names(targets), **sizes, **reading})


def adapter_table(targets: str, rank: int, alpha: float) -> ForDocuments:
    """The generator `adapter-table`: a LoRA of its own for each document, or described task, that it is trained on."""
    return ForDocuments("adapter-table", {"targets": _names(targets), "rank": rank, "alpha": alpha})


def _names(targets: str) -> list[str]:
    return [name.strip() for name in targets.split(",") if name.strip()]
