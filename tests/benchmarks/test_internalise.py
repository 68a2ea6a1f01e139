"""The key-value cache that a question leaves, by formula and in truth."""

from __future__ import annotations

import torch
from transformers import Gemma2Config

from benchmarks.internalise import kv_bytes_per_token
from harness.models import load_model


def test_the_cache_of_gemma_2_2b() -> None:
    config = Gemma2Config(num_hidden_layers=26, num_key_value_heads=4, num_attention_heads=8, head_dim=256)
    assert kv_bytes_per_token(config, 2) == 106_496


def test_the_cache_of_the_lab_s_reader_is_what_it_holds() -> None:
    model = load_model("lab-reader").model()
    with torch.no_grad():
        cache = model(torch.arange(10)[None], use_cache=True).past_key_values
    held = sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values))
    assert kv_bytes_per_token(model.config, 4) * 10 == held
