"""Retention: probes before and after a run, and the divergence from the start."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import load_model, load_task
from harness.contracts import Likelihood, Sampling
from harness.engines.hf import HFEngine, encode
from harness.engines.likelihood import token_likelihoods
from harness.errors import UserError
from harness.plan import check_evaluation
from harness.policy import Policy
from harness.registry import find_task
from harness.retention import measure_after, measure_before
from harness.spec import Probe, Retention, RunSpec
from sweeps.retention import SUITES, RetentionChoice, resolve_retention, retention_choice
from tests.conftest import make_spec, run_to_end

PROBES = Retention(
    probes=(
        Probe(label="other level", task=find_task("countdown").resolve({"level": "L1"}), items=12),
        Probe(label="filler", task=find_task("filler").resolve({}), items=12),
    ),
    kl_prompts=8,
)


@pytest.fixture
def policy() -> Policy:
    handle = load_model("lab")
    return Policy(handle.model().eval(), handle.tokenizer(), handle.path)


def watched(spec: RunSpec) -> RunSpec:
    return spec.model_copy(update={"evaluation": spec.evaluation.model_copy(update={"retention": PROBES})})


def test_an_unchanged_policy_keeps_everything(policy: Policy) -> None:
    spec = make_spec("base")
    before = measure_before(spec, PROBES, load_task("countdown", level="L0"), policy)
    kept = measure_after(spec, PROBES, before, policy)
    assert [probe.label for probe in kept.probes] == ["other level", "filler"]
    assert all(probe.before == probe.after and probe.items == 12 for probe in kept.probes)
    old, new = kept.probes[1].measures["nats_per_token"]
    assert old == new > 0
    assert kept.kl_per_sequence == pytest.approx(0, abs=1e-4) and kept.kl_prompts == 8


def test_the_divergence_is_that_of_the_sampled_texts(policy: Policy) -> None:
    """Against log-probabilities that are computed here, token by token."""
    spec = make_spec("base")
    before = measure_before(spec, PROBES, load_task("countdown", level="L0"), policy)
    other = load_model("lab").model().eval()
    with torch.no_grad():
        for tensor in other.parameters():
            tensor.mul_(1.05)
    moved = Policy(other, policy.tokenizer, policy.start)
    kept = measure_after(spec, PROBES, before, moved)
    ratios = []
    for ids, answer in zip(before.prompts, before.completions, strict=True):
        whole = torch.tensor([ids + answer.token_ids])
        total = 0.0
        for model, sign in ((policy.model, 1), (other, -1)):
            with torch.no_grad():
                logprobs = torch.log_softmax(model(whole).logits[0].double(), -1)
            total += sign * sum(
                float(logprobs[len(ids) + place - 1, token]) for place, token in enumerate(answer.token_ids)
            )
        ratios.append(total)
    mean = sum(ratios) / len(ratios)
    spread = math.sqrt(sum((r - mean) ** 2 for r in ratios) / (len(ratios) - 1))
    assert kept.kl_per_sequence == pytest.approx(mean, abs=1e-3)
    assert kept.kl_standard_error == pytest.approx(spread / math.sqrt(len(ratios)), abs=1e-3)
    assert kept.kl_per_token == pytest.approx(sum(ratios) / sum(len(a.token_ids) for a in before.completions), abs=1e-4)
    assert abs(mean) > 0.01


def test_token_likelihoods_are_the_engines_own(policy: Policy) -> None:
    prompts = ["3,5=8>", "sudoku\n"]
    answers = HFEngine(policy.model, policy.tokenizer).generate(prompts, Sampling(12, 1.0), 3)
    texts = [(encode(policy.tokenizer, p), a.token_ids) for p, a in zip(prompts, answers, strict=True)]
    for answer, found in zip(answers, token_likelihoods(policy.model, texts), strict=True):
        assert found.logprob == pytest.approx(sum(answer.logprobs), abs=1e-4)
        assert found.tokens == len(answer.token_ids)


def test_likelihoods_of_texts_are_the_models_loss(policy: Policy) -> None:
    text, context = "Anna had a small dog.", "One morning "
    engine = HFEngine(policy.model, policy.tokenizer)
    alone, after = engine.likelihoods([("", text), (context, text)])
    ids = torch.tensor([[policy.tokenizer.eos_token_id, *policy.tokenizer(text).input_ids]])
    with torch.no_grad():
        loss = float(policy.model(ids, labels=ids).loss)
    assert alone == Likelihood(pytest.approx(-loss * (ids.shape[1] - 1), abs=1e-3), ids.shape[1] - 1, alone.greedy)
    assert after.logprob != alone.logprob


def test_a_text_longer_than_the_window_is_read_whole(policy: Policy) -> None:
    long = " ".join(["Anna saw the fox."] * 400)
    (found,) = HFEngine(policy.model, policy.tokenizer).likelihoods([("", long)])
    assert found.tokens == len(policy.tokenizer(long).input_ids) > policy.model.config.max_position_embeddings


def test_a_run_carries_its_probes(tmp_path: Path) -> None:
    plain, spec = make_spec("sft", learning_rate=1e-2), watched(make_spec("sft", learning_rate=1e-2))
    assert spec.run_id != plain.run_id
    results = []
    for one in (plain, spec):
        results.append(run_to_end(one, tmp_path).read_result())
    assert results[0].retention is None and results[1].retention is not None
    assert results[0].weights_digest == results[1].weights_digest  # watching changes nothing
    other, filler = results[1].retention.probes
    assert other.label == "other level" and filler.measures["nats_per_token"][0] < filler.measures["nats_per_token"][1]
    assert (results[1].retention.kl_per_sequence or 0) > 0.1


def test_suites_and_lists_become_probes() -> None:
    lab = resolve_retention(RetentionChoice(**retention_choice("lab")))
    assert [probe.label for probe in lab.probes] == [one["as"] for one in SUITES["lab"]]
    own = resolve_retention(RetentionChoice(**retention_choice([{"name": "countdown", "level": "L0", "items": 5}])))
    assert own.probes[0].items == 5 and own.probes[0].task.parameters["level"] == "L0"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("labb", "'lab'"),
        ([{"name": "cuntdown"}], "'countdown'"),
        ([{"name": "countdown", "level": "L99"}], None),
        ([{"name": "countdown"}, {"name": "countdown"}], "as: LABEL"),
        ([{"level": "L0"}], "name: TASK"),
        ([], "no probe"),
    ],
)
def test_a_wrong_probe_is_one_sentence(given: Any, said: str | None) -> None:
    with pytest.raises(UserError, match=said):
        wanted = resolve_retention(RetentionChoice(**retention_choice(given)))
        protocol = {"split": "val", "items": 1, "curve_points": 0, "retention": json.loads(wanted.model_dump_json())}
        check_evaluation(load_task("countdown"), RunSpec.model_fields["evaluation"].annotation(**protocol))
