"""The key-value cache that a question leaves, by formula and in truth."""

from __future__ import annotations

import torch
from transformers import Gemma2Config

from benchmarks.internalise import kv_bytes_per_token, others
from harness.contracts import Sampling
from harness.engines.hf import HFEngine
from harness.models import load_model
from harness.registry import load_task


def test_the_cache_of_gemma_2_2b() -> None:
    config = Gemma2Config(num_hidden_layers=26, num_key_value_heads=4, num_attention_heads=8, head_dim=256)
    assert kv_bytes_per_token(config, 2) == 106_496


def test_the_cache_of_the_lab_s_reader_is_what_it_holds() -> None:
    model = load_model("lab-reader").model()
    with torch.no_grad():
        cache = model(torch.arange(10)[None], use_cache=True).past_key_values
    held = sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values))
    assert kv_bytes_per_token(model.config, 4) * 10 == held


def test_other_questions_ask_for_the_same_facts_in_other_words_and_for_what_is_not_told() -> None:
    """Told by the base that reads the document: values that its own questions have, or that it does not know."""
    task, handle = load_task("facts", level="F0", facts="1-4", absent=0.3), load_model("lab-reader")
    engine = HFEngine(handle.model().eval(), handle.tokenizer())
    right = answered = 0
    for document in task.documents("val", 12):
        values = {item.data["answers"][0] for item in document.items}
        told = sum(item.data["answers"][0] != "unknown" for item in document.items)
        items = others(document)
        assert not {item.data["question"] for item in items} & {item.data["question"] for item in document.items}
        prompts = [task.prompt_with(item, document.text) for item in items]
        answers = [one.text.strip() for one in engine.generate(prompts, Sampling(4, 0.0, 1.0, task.stop), 0)]
        assert len(answers) >= told
        right += len(set(answers) & (values - {"unknown"})) == told and "unknown" in answers
        answered += 1
    assert right >= 0.7 * answered
