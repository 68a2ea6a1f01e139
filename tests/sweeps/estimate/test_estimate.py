"""Estimates against what real runs take, what makes a run fit, and what is told when nothing is known."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.errors import UserError
from harness.events import read_events
from harness.generators import find_generator
from harness.models import load_model
from harness.parts import load_parameterisation, parameterisations
from harness.policy import Policy
from harness.record import RunDirectory
from harness.registry import find_method, find_task
from harness.spec import Budget, RunSpec
from sweeps.estimate.devices import Device, described, device_name
from sweeps.estimate.estimate import Estimate, Estimator
from sweeps.estimate.history import Past, past_of, read_history, throughput
from sweeps.estimate.memory import WHOLE, Spread
from sweeps.estimate.shape import Shape, _held, shape_of
from tests.conftest import QUICK_PARTS, make_spec, run_to_end

HERE = Device("here", 2.0**40, False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDirectory]:
    """One short run of each kind of signal."""
    folder = tmp_path_factory.mktemp("runs")
    return {name: run_to_end(make_spec(name, steps=4), folder) for name in ("sft", "grpo", "lora+grpo", "es")}


def estimate(spec: RunSpec, history: list[RunDirectory], *devices: Device, spread: Spread = WHOLE) -> Estimate:
    past = [past_of(one) for one in history]
    estimator = Estimator(load_model(spec.model.name), past, devices or [HERE], device_name(), spread)
    pipeline = find_method(spec.method.name).create(**spec.method.parameters)
    return estimator.of(spec.method.name, pipeline, spec)


@pytest.mark.parametrize("name", ["sft", "grpo", "lora+grpo", "es"])
def test_tokens_and_operations_are_those_that_the_run_meters(name: str, runs: dict[str, RunDirectory]) -> None:
    """From the parts of the method alone: answers may be longer or shorter than demonstrations, and nothing else."""
    spec, meters = runs[name].read_spec(), runs[name].read_result().meters
    found = estimate(spec, [])
    assert found.work is not None and not found.unknown
    assert found.trainable == runs[name].read_result().trainable_parameters
    assert found.work.steps == pytest.approx(meters.steps)
    assert found.work.rollouts == pytest.approx(meters.rollouts)
    assert found.work.prompt_tokens == pytest.approx(meters.prompt_tokens, rel=0.05)
    if name == "es":  # these members are thrown so far that they ramble: the length of their answers is not the parts'
        return
    for figure in ("generated_tokens", "trained_tokens", "flops"):
        assert getattr(found.work, figure) == pytest.approx(getattr(meters, figure), rel=0.35), figure


@pytest.mark.parametrize(
    "name", ["cpt", "d2l", "context-distillation", "task-lora", "distill-trace", "t2l-reconstruction"]
)
def test_objectives_that_say_how_large_their_updates_are(name: str, tmp_path: Path) -> None:
    done = run_to_end(make_spec(name, steps=6), tmp_path)
    spec, meters = done.read_spec(), done.read_result().meters
    found = estimate(spec, [])
    assert found.work is not None
    if name in ("d2l", "t2l-reconstruction"):  # of its memory like runs alone know
        assert found.memory_bytes is None and not found.fits and "is known from runs alone" in found.unknown[0]
        again = estimate(RunSpec(**dict(spec.model_copy(update={"seed": spec.seed + 1}))), [done])
        assert again.memory_bytes == done.read_result().peak_memory_bytes and not again.unknown
        assert [fit.fits for fit in again.fits] == [True]
    else:
        assert found.memory_bytes is not None and found.fits and not found.unknown
    assert found.work.steps == pytest.approx(meters.steps)
    assert found.work.trained_tokens == pytest.approx(meters.trained_tokens, rel=0.15)
    for figure in ("flops", "prompt_tokens", "generated_tokens", "rollouts"):
        assert getattr(found.work, figure) == pytest.approx(getattr(meters, figure), rel=0.35), figure


def test_a_steering_vector_costs_its_pairs_and_ends_with_them(tmp_path: Path) -> None:
    spec = make_spec("steering", steps=6, prompts=32)
    done = run_to_end(spec, tmp_path)
    meters, found = done.read_result().meters, estimate(spec, [])
    assert found.work is not None and not found.unknown and found.fits
    assert found.work.rollouts == pytest.approx(meters.rollouts)
    assert found.work.flops == pytest.approx(meters.flops, rel=0.35)
    longer = estimate(spec.model_copy(update={"budget": Budget(steps=10_000)}), [])
    most = spec.method.parameters["prompts"] / spec.method.parameters["batch_size"]
    assert longer.work is not None and meters.steps <= longer.work.steps == math.ceil(most)


@pytest.mark.parametrize(("name", "rounds"), [("rft", 2), ("steering", 1)])
def test_no_more_prompts_are_sampled_than_the_task_has(name: str, rounds: int, tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {number}.", "answer": str(number)} for number in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    task = find_task("jsonl").resolve({"data": str(tmp_path / "rows.jsonl"), "grader": "exact"})
    spec = make_spec(name, steps=100, prompts=512, samples=2)
    there = len(find_task("jsonl").create(**task.parameters).items("train"))
    work = estimate(spec.model_copy(update={"task": task}), []).work
    assert work is not None and 0 < there < 40 and work.rollouts == pytest.approx(2 * there * rounds)


@pytest.mark.parametrize("name", ["t2l-sft", "t2l-es"])
def test_what_starts_from_a_generated_adapter_has_its_size(name: str, tmp_path: Path) -> None:
    spec = make_spec(name, steps=2)
    done = run_to_end(spec, tmp_path)
    result, found = done.read_result(), estimate(spec, [])
    assert found.trainable == result.trainable_parameters and not found.unknown and found.fits
    assert found.work is not None and found.work.steps == pytest.approx(result.meters.steps)
    if name == "t2l-sft":
        assert found.work.flops == pytest.approx(result.meters.flops, rel=0.35)


def test_an_adapter_of_a_document_has_a_rank_for_each_chunk(tmp_path: Path) -> None:
    done = run_to_end(make_spec("d2l", steps=2), tmp_path)
    handle = find_generator(done.path)
    tokenizer, text = handle.base().tokenizer(), " the code of lamp is 109. rosa lives in oslo." * 9
    model = handle.open(handle.base().model(), tokenizer)
    with torch.no_grad():
        (rank,) = model.write([text]).ranks
    assert handle.extent(tokenizer, text) == (["down_proj"], rank) and rank > 2 * handle.configuration["rank"]


@pytest.mark.parametrize("size", ["L", "M", "S"])
def test_a_hypernetwork_costs_by_the_text(size: str, tmp_path: Path) -> None:
    """An update beyond the first, for which every description is read once."""
    done = run_to_end(make_spec("t2l", size=size, steps=5), tmp_path)
    flops = [event["meters"]["flops"] for event in read_events(done.events) if event["kind"] == "metrics"]
    found = estimate(done.read_spec(), [])
    assert found.work is not None
    assert found.work.flops / found.work.steps == pytest.approx((flops[-1] - flops[0]) / 4, rel=0.1)


def test_a_hypernetwork_for_documents_has_a_shape_before_it_has_read_any() -> None:
    handle = load_model("lab")
    shape = shape_of(handle, find_method("d2l").create(rank=4).stages[0].parameterisation)  # type: ignore[union-attr]
    assert isinstance(shape, Shape), shape
    assert shape.text_operations is not None and shape.text_operations > 2 * shape.trainable  # a weight is used or more


def test_a_damaged_run_keeps_no_other_from_being_history(runs: dict[str, RunDirectory], tmp_path: Path) -> None:
    for name in ("sft", "grpo", "es"):
        shutil.copytree(runs[name].path, tmp_path / "countdown" / name / runs[name].path.name)
    sft, grpo, _ = (
        RunDirectory(tmp_path / "countdown" / name / runs[name].path.name) for name in ("sft", "grpo", "es")
    )
    sft.result.write_text("{")
    grpo.environment.write_text("")
    assert [past.spec.method.name for past in read_history(tmp_path)] == ["es"]


def test_like_runs_tell_what_a_run_takes(runs: dict[str, RunDirectory]) -> None:
    spec = runs["sft"].read_spec()
    again = spec.model_copy(update={"seed": spec.seed + 1})
    meters = runs["sft"].read_result().meters
    found = estimate(RunSpec(**dict(again)), [runs["sft"]])
    assert found.work_source == "1 like runs" and found.throughput is not None
    assert found.throughput.source == "same model and method"
    assert found.work is not None and found.work.trained_tokens == meters.trained_tokens
    assert found.seconds == pytest.approx(meters.seconds, rel=0.05)
    assert found.memory_source == "same model and method"
    assert found.memory_bytes == pytest.approx(runs["sft"].read_result().peak_memory_bytes, rel=0.01)


def test_throughput_says_which_runs_it_is_from(runs: dict[str, RunDirectory]) -> None:
    past, device = [past_of(runs["grpo"])], device_name()
    spec = runs["sft"].read_spec()
    other = spec.model_copy(update={"model": spec.model.model_copy(update={"revision": "0" * 16})})
    sources = [throughput(past, one, device) for one in (runs["grpo"].read_spec(), spec, other)]
    assert [one and one.source for one in sources] == ["same model and method", "same model", "same device"]
    assert throughput(past, spec, "another device") is None and throughput([], spec, device) is None
    assert estimate(spec, []).seconds is None


def test_a_run_that_holds_several_devices_takes_the_time_of_all(runs: dict[str, RunDirectory]) -> None:
    """Their seconds count once for each; by runs that held as many it is what those took."""
    (one,) = past = [past_of(runs["grpo"])]
    spec, handle = runs["grpo"].read_spec().model_copy(update={"seed": 9}), load_model("lab")
    pipeline = find_method("grpo").create(**spec.method.parameters)

    def seconds(history: list[Past], spread: int) -> float:
        found = Estimator(handle, history, [HERE], device_name(), tensor_parallel=spread).of("grpo", pipeline, spec)
        assert found.seconds is not None
        return found.seconds

    assert seconds(past, 2) == pytest.approx(2 * seconds(past, 1))
    assert seconds([replace(one, tensor_parallel=2)], 2) == pytest.approx(seconds(past, 1))


@pytest.mark.parametrize("name", ["lora", "full"])
def test_a_shape_without_weights_is_that_of_the_model(name: str) -> None:
    handle = load_model("lab")
    shape = shape_of(handle, load_parameterisation(name))
    assert isinstance(shape, Shape)
    policy = load_parameterisation(name).attach(Policy(handle.model(), handle.tokenizer(), handle.path), 0)
    assert (shape.parameters, shape.trainable) == (policy.total_parameters, policy.trainable_parameters)
    assert shape.compute_parameters == policy.compute_parameters
    kept = (_held(policy.model, 6) - _held(policy.model, 2)) / (4 * 8)
    assert shape.kept_bytes == pytest.approx(kept, rel=0.03)


OF_A_RUN = {"generated", "mole"}
"""Parameterisations that begin with what other runs have made."""


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, QUICK_PARTS.get(name, {})) for name in sorted(set(parameterisations()) - OF_A_RUN)),
        ("moa-sparse", {"rank": 2, "threshold": "straight-through"}),
    ],
)
def test_every_parameterisation_has_a_shape_without_weights(name: str, settings: dict[str, object]) -> None:
    handle, part = load_model("lab"), load_parameterisation(name, **settings)
    shape = shape_of(handle, part)
    assert isinstance(shape, Shape), shape
    plain = part.plain() if hasattr(part, "plain") else part
    policy = plain.attach(Policy(handle.model(), handle.tokenizer(), handle.path), 0)
    assert shape.trainable == policy.trainable_parameters > 0 and shape.kept_bytes > 0


def test_what_does_not_fit_says_what_makes_it_fit_by_estimating_that() -> None:
    spec = make_spec("sft", batch_size=64).model_copy(update={"budget": Budget(steps=4)})
    spec = RunSpec(**dict(spec))
    whole = estimate(spec, [], Device("gpu", 2.0**40, True))
    assert whole.memory_bytes is not None and whole.fits[0].fits and whole.memory_source == ""
    small = Device("small gpu", 0.6 * whole.memory_bytes, True)
    (fit,) = estimate(spec, [], small).fits
    assert not fit.fits and "training accumulation: 2" in fit.remedies
    split = spec.model_copy(update={"training": spec.training.model_copy(update={"accumulation": 2})})
    assert estimate(split, [], small).fits[0].fits
    (hopeless,) = estimate(spec, [], Device("tiny", 1000.0, True)).fits
    assert not hopeless.fits and hopeless.remedies == ()


def test_a_plan_says_which_stage_of_zero_is_enough() -> None:
    spec = make_spec("sft", batch_size=1)
    evaluation = spec.evaluation.model_copy(update={"items": 1, "curve_items": 1})
    spec = RunSpec(**dict(spec.model_copy(update={"evaluation": evaluation})))
    endless = Device("gpu", 2.0**40, True)
    whole, state, both = (
        estimate(spec, [], endless, spread=Spread.of(8, stage)).memory_bytes or 0.0 for stage in range(3)
    )
    assert whole > state > both > 0
    for stage, enough in ((1, state), (2, both)):
        device = Device("gpu", 1.01 * enough, True)
        (fit,) = estimate(spec, [], device).fits
        assert [one for one in fit.remedies if "zero" in one] == [f"resources zero_stage: {stage} with gpus: 8"]
        assert estimate(spec, [], device, spread=Spread.of(8, stage)).fits[0].fits
    (fit,) = estimate(spec, [], Device("gpu", 1.01 * both, True), spread=Spread.of(8, 1)).fits
    assert not fit.fits and "resources zero_stage: 2 with gpus: 8" in fit.remedies


def test_an_amount_of_memory_is_read_or_refused() -> None:
    assert described("24GB").bytes == 24e9 and described("80 GiB").bytes == 80 * 2**30
    assert described("card=1.5 GB") == Device("card", 1.5e9, True)
    for text in ("much", "", "GB", "1.2.3GB", "0GB"):
        with pytest.raises(UserError, match="is no amount of memory: --device-memory 24GB"):
            described(text)
