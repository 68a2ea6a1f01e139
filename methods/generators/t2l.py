"""`t2l`: Text-to-LoRA, a hypernetwork from a description in words to LoRA factors (Charakorn et al. 2025, 2506.06105).

What registers the generator and says what it can be made of; the network is `methods.generators.text_to_lora`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from harness.generators import generator

Size = Literal["S", "M", "L"]
Pooling = Literal["last", "mean", "layers"]
BASE = "base"
"""The encoder that is the base model itself."""


@generator("t2l")
def text_to_lora(
    base: Any,
    size: Size = "L",
    rank: int = 8,
    alpha: float = 16.0,
    targets: Sequence[str] = ("q_proj", "v_proj"),
    latent: int = 128,
    encoder: str = BASE,
    pooling: Pooling = "last",
    standardised: bool = False,
    dropout: float = 0.05,
) -> Any:
    """The hypernetwork for `base`, drawn from torch's global stream."""
    from methods.generators.encoders import encoder_for
    from methods.generators.targets import layers_of
    from methods.generators.text_to_lora import Settings, TextToLora

    reader = encoder_for(base, encoder, pooling)
    settings = Settings(size, rank, alpha, latent, standardised, dropout)
    made_of = {"targets": list(targets), "encoder": encoder, "pooling": pooling}
    return TextToLora(layers_of(base, targets), reader, settings, made_of)


def encoder_refusal(encoder: str) -> str | None:
    """Why texts cannot be encoded so, or None."""
    from importlib.util import find_spec

    if encoder == BASE or find_spec("sentence_transformers") is not None:
        return None
    return (
        f"encoder={encoder} needs the package sentence-transformers (pip install 'beyondrl[encoders]'); encoder=base "
        "needs none"
    )
