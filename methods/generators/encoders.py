"""Texts as vectors for a hypernetwork, by a frozen encoder: the base model's own hidden states, or any other model.

The base reads the text alone, the last token's state of its last layer is the vector (`last`; Charakorn et al. 2025,
section 4, table 4: about as good as gte-large-en-v1.5), the mean over tokens, or the means of all layers, embeddings
first, side by side (`layers`: a small base forgets words on its way up). Every text is read by itself and
remembered, so that its vector does not depend on what is read beside it. A text longer than the encoder's window is
refused, never cut. As in the published code a full stop ends every text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from harness.errors import UserError
from methods.generators.t2l import BASE, Pooling, encoder_refusal


class Encoder(Protocol):
    """Vectors of `width` numbers."""

    width: int

    def encode(self, base: Any, tokenizer: Any, texts: Sequence[str]) -> torch.Tensor:
        """[texts, width], float32, without gradient."""
        ...


def encoder_for(base: Any, name: str, pooling: Pooling) -> Encoder:
    """The encoder called `name`: `base`, or a sentence-transformers model; UserError if it cannot be had."""
    if name == BASE:
        config = base.config.get_text_config()
        return BaseStates(int(config.hidden_size), pooling, int(config.num_hidden_layers))
    reason = encoder_refusal(name)
    if reason is not None:
        raise UserError(f"{reason[0].upper()}{reason[1:]}.")
    return SentenceModel(name)


class _Remembered:
    """Vectors of texts that were read before."""

    def __init__(self) -> None:
        self._known: dict[str, torch.Tensor] = {}

    def encode(self, base: Any, tokenizer: Any, texts: Sequence[str]) -> torch.Tensor:
        """[texts, width] on the base's device."""
        for text in texts:
            if text not in self._known:
                whole = _ended(text)
                with torch.no_grad():
                    self._known[text] = self._read(base, tokenizer, whole).float().cpu()
        return torch.stack([self._known[text] for text in texts]).to(base.device)

    def _read(self, base: Any, tokenizer: Any, text: str) -> torch.Tensor:
        raise NotImplementedError


class BaseStates(_Remembered):
    """The base model's own last hidden layer."""

    def __init__(self, width: int, pooling: Pooling, layers: int = 0) -> None:
        """`width` of a state and number of `layers` are the base's."""
        super().__init__()
        self.pooling = pooling
        self.width = width * (layers + 1) if pooling == "layers" else width

    def _read(self, base: Any, tokenizer: Any, text: str) -> torch.Tensor:
        ids = tokenizer(text, return_tensors="pt").input_ids.to(base.device)
        _check_window(text, ids.shape[1], int(base.config.get_text_config().max_position_embeddings))
        training = base.training
        base.eval()
        try:
            read = base.base_model(input_ids=ids, use_cache=False, output_hidden_states=self.pooling == "layers")
        finally:
            base.train(training)
        if self.pooling == "layers":
            return torch.cat([states[0].float().mean(0) for states in read.hidden_states])
        states: torch.Tensor = read.last_hidden_state[0]
        return states[-1] if self.pooling == "last" else states.float().mean(0)


class SentenceModel(_Remembered):
    """A sentence-transformers model with its own pooling; code that comes with a model is never executed."""

    def __init__(self, name: str) -> None:
        from sentence_transformers import SentenceTransformer

        super().__init__()
        try:
            self._model = SentenceTransformer(name, trust_remote_code=False)
        except (OSError, ValueError) as error:
            reason = str(error).strip().split("\n")[0].rstrip(".")
            raise UserError(f"The encoder {name!r} cannot be had: {reason}.") from None
        self.width = int(self._model.get_sentence_embedding_dimension())

    def _read(self, base: Any, tokenizer: Any, text: str) -> torch.Tensor:
        _check_window(text, len(self._model.tokenizer(text).input_ids), int(self._model.max_seq_length))
        vector: torch.Tensor = self._model.encode([text], convert_to_tensor=True, show_progress_bar=False)[0]
        return vector


def _ended(text: str) -> str:
    """The text with a full stop at its end, unless it has another end; UserError if there is nothing in it."""
    stripped = text.strip()
    if not stripped:
        raise UserError("A text is empty: there is nothing to write an adapter from.")
    return stripped if stripped[-1] in ".!?" else f"{stripped}."


def _check_window(text: str, tokens: int, window: int) -> None:
    if tokens > window:
        raise UserError(
            f"The text {text[:40]!r}... is {tokens} tokens long and its encoder reads {window}: shorten it, as nothing "
            "is cut off."
        )
