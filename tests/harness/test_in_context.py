"""An item's text in the prompt of the untouched base: whole, or its beginning where it would not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.evaluate import evaluate
from harness.models import load_model
from harness.policy import Policy
from harness.registry import find_task, load_method, load_task
from harness.spec import EvaluationProtocol, Probe, Retention
from tests.conftest import make_spec, run_to_end


@pytest.fixture(scope="module")
def reader() -> Policy:
    handle = load_model("lab-reader")
    return Policy(handle.model().eval(), handle.tokenizer(), handle.path)


def test_a_text_beyond_the_window_is_cut_and_said_to_be(reader: Policy) -> None:
    task, spec = load_task("facts", level="F5", context="none"), make_spec("base")
    score, rows = evaluate(spec, task, reader, "val", 3, few_shot=0, told=True, cut=True)
    assert score.measures == {"text cut": 1.0}
    for item, row in zip(task.items("val", 3), rows, strict=True):
        tokens = len(reader.tokenizer(row["prompt"]).input_ids)
        assert tokens + 40 == reader.model.config.max_position_embeddings  # 40 is the limit on an answer
        begun = row["prompt"].partition("\nQuestion:")[0].strip()
        assert len(begun) > 500 and task.text(item).strip().startswith(begun)
        assert row["prompt"].endswith(task.prompt_with(item, ""))


def test_a_text_that_fits_is_whole(reader: Policy) -> None:
    task, spec = load_task("facts", level="F0", context="none"), make_spec("base")
    score, rows = evaluate(spec, task, reader, "val", 6, few_shot=0, told=True, cut=True)
    assert score.measures == {"text cut": 0.0} and score.accuracy == 1.0
    assert all(json.loads(row["measures"]) == {"text cut": 0.0} for row in rows)
    whole, as_rows = evaluate(spec, task, reader, "val", 6, few_shot=0, told=True)
    assert not whole.measures
    assert [row["prompt"] for row in as_rows] == [row["prompt"] for row in rows]
    assert load_method("in-context", beyond="cut").cut and not load_method("in-context").cut


def test_probes_with_texts_are_told_theirs_afterwards_and_others_are_asked_as_ever(runs: Path) -> None:
    found = find_task("facts").resolve({"level": "F1", "context": "none"})
    probes = (
        Probe(task=found, items=10, label="documents"),
        Probe(task=find_task("words").resolve({"level": "W0"}), items=5, label="words"),
    )
    protocol = EvaluationProtocol(
        split="val", items=5, curve_points=0, retention=Retention(kl_prompts=0, probes=probes)
    )
    spec = make_spec("in-context", evaluation=protocol)
    spec = spec.model_copy(update={"task": find_task("facts").resolve({"level": "F0", "context": "none"})})
    result = run_to_end(spec, runs).read_result()
    assert result.retention is not None
    told, words = result.retention.probes
    assert told.before < 0.3 and told.after == 1.0
    assert words.before == words.after
