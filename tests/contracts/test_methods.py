"""What every registered method must keep, tested for real on the lab model the day it is added."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from harness.adapters import is_adapter, open_adapter
from harness.contracts import Resources, Train
from harness.errors import UserError
from harness.export import export
from harness.generators import find_generator, is_generator
from harness.models import load_model
from harness.plan import control_refusal
from harness.policy import digest_of
from harness.record import RunDirectory
from harness.registry import load_method, methods
from harness.spec import RunSpec
from harness.training import Training
from harness.worker import DONE, work
from tests.conftest import (
    GO_ON_FROM_TEXT,
    PROTOCOL,
    QUICK,
    Finished,
    kill_when,
    make_spec,
    place,
    prepare,
    quick,
    run_to_end,
    start_model,
)

EVERY = sorted(methods())
TRAINED = [name for name in EVERY if load_method(name).stages]
GRADIENT = [
    name
    for name in TRAINED
    if any(isinstance(one, Train) and one.optimiser.takes == "gradient" for one in load_method(name).stages)
]
STARTS_ELSEWHERE = {*GO_ON_FROM_TEXT, "t2l-reconstruction"}
"""Methods whose start is no untouched model: a generated adapter, a network that is drawn and writes some update."""
COUNTED = {"generated_tokens", "prompt_tokens", "trained_tokens", "rollouts", "flops", "steps"}
DROPS = ("reward-model", "process-reward-model", "rm-grpo", "prm-grpo", "t2l", "t2l-reconstruction")
"""Methods with dropout: in the hypernetwork's layers, before a reward model's head."""
PIPELINES = [name for name in TRAINED if len(load_method(name, **QUICK.get(name, {})).stages) > 1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One uninterrupted run of every method."""
    return Finished(tmp_path_factory.mktemp("finished"), make_spec)


def weights(directory: RunDirectory) -> str:
    """A digest of the policy, and of the reward model if the run has trained one."""
    digest = directory.read_result().weights_digest
    judge = directory.path / "reward_model"
    return f"{digest} {digest_of(load_file(judge / 'model.safetensors').items())}" if judge.exists() else digest


def rows(directory: RunDirectory) -> list[dict[str, object]]:
    return pq.read_table(directory.samples).to_pylist()


@pytest.mark.parametrize("name", EVERY)
def test_the_record_is_complete(name: str, finished: Finished) -> None:
    directory = finished[name]
    result = directory.read_result()
    assert directory.status() == "done"
    assert result.score.items == 6 and len(rows(directory)) == 6
    assert result.meters.evaluate_seconds > 0 and result.peak_memory_bytes > 0
    assert bool(result.stages) == (name in TRAINED)
    wanted = make_spec(name).budget.steps
    assert not result.stages or sum(stage.meters.steps for stage in result.stages) == wanted
    for stage in result.stages:
        assert stage.meters.steps > 0 and stage.stopped_by == "steps"
        assert stage.meters.flops > 0 and stage.meters.device_seconds > 0
        untouched = stage.description["parameterisation"]["name"] == "untouched"
        assert bool(stage.trainable_parameters) != untouched
        assert stage.score is not None
        assert (stage.score.split, stage.score.items) == ("val", 4 if len(result.stages) > 1 else 6)


@pytest.mark.parametrize("name", EVERY)
def test_the_same_seed_gives_the_same_run(name: str, finished: Finished, runs: Path) -> None:
    again = run_to_end(make_spec(name), runs)
    assert weights(again) == weights(finished[name])
    assert rows(again) == rows(finished[name])


@pytest.mark.parametrize("name", TRAINED)
def test_another_seed_gives_another_run(name: str, finished: Finished, runs: Path) -> None:
    other = run_to_end(make_spec(name, seed=1), runs)
    assert weights(other) != weights(finished[name])


@pytest.mark.parametrize("name", TRAINED)
def test_a_control_reaches_whatever_is_learnt_from(name: str, finished: Finished, runs: Path) -> None:
    """The same seed under a destroyed signal ends with other weights."""
    spec = RunSpec.model_validate(make_spec(name).model_dump() | {"control": "shuffled"})
    if control_refusal(load_method(name, **spec.method.parameters), "shuffled") is not None:
        assert name == "distill-onpolicy"
        return
    assert weights(run_to_end(spec, runs)) != weights(finished[name])


@pytest.mark.parametrize("name", TRAINED)
def test_killed_and_resumed_equals_uninterrupted(name: str, finished: Finished, runs: Path) -> None:
    directory = place(make_spec(name), runs)
    last = len(load_method(name, **QUICK.get(name, {})).stages) - 1
    second = f"stage-{last}/*-{1 if last else 2}/state.json"
    kill_when(directory, lambda run: any(run.checkpoint.glob(second)))
    assert_resumed_as_whole(directory, finished[name])


@pytest.mark.parametrize("name", PIPELINES)
def test_killed_between_two_stages(name: str, finished: Finished, runs: Path) -> None:
    directory = place(make_spec(name), runs)
    kill_when(directory, lambda run: (run.checkpoint / "stage-1" / "start" / "state.json").exists())
    assert_resumed_as_whole(directory, finished[name])


def assert_resumed_as_whole(directory: RunDirectory, whole: RunDirectory) -> None:
    """Take a killed run up again: the same weights, answers and counted meters as one that was never killed."""
    assert directory.status() == "stale"
    assert work(directory.path, Resources()) == DONE
    assert directory.read_result().resumed == 1
    assert weights(directory) == weights(whole)
    assert rows(directory) == rows(whole)
    scores = [[stage.score for stage in run.read_result().stages] for run in (directory, whole)]
    assert scores[0] == scores[1]
    assert directory.read_result().meters.model_dump(include=COUNTED) == whole.read_result().meters.model_dump(
        include=COUNTED
    )


@pytest.mark.parametrize("name", TRAINED)
def test_two_processes_do_the_run_of_one(name: str, finished: Finished, runs: Path) -> None:
    """As much of everything, and weights up to the order in which sums are made; time counts for both. Each keeps half
    of the optimiser's state and of the gradients (with all of both: tests/harness/test_team.py).

    A sampled token may lie on the edge between two, so that tokens may differ by a few. What is dropped at random is
    other in every micro-batch: there the weights are not compared.
    """
    prepare()
    directory, alone = place(make_spec(name), runs), finished[name]
    began = time.monotonic()
    code = work(directory.path, Resources(processes=2, zero_stage=2))
    assert code == DONE, directory.error.read_text() if directory.error.exists() else code
    result, whole = directory.read_result(), alone.read_result()
    for meter in COUNTED:
        once, twice = (getattr(meters, meter) for meters in (whole.meters, result.meters))
        assert twice == (
            once if meter in ("steps", "rollouts") else pytest.approx(once, rel=0.1 if name in DROPS else 0.01)
        ), meter
    assert [row["item_id"] for row in rows(directory)] == [row["item_id"] for row in rows(alone)]
    assert result.meters.seconds <= 2 * (time.monotonic() - began) and result.meters.processor_seconds is None
    assert name in DROPS or apart(directory, alone) < 2e-5


def apart(one: RunDirectory, other: RunDirectory) -> float:
    """The root of the mean squared difference of two policies' tensors."""
    (file,) = one.model.glob("*.safetensors")
    here, there = load_file(file), load_file(other.model / file.name)
    squares = sum(float((here[name] - tensor).square().sum()) for name, tensor in there.items())
    return (squares / sum(tensor.numel() for tensor in there.values())) ** 0.5


@pytest.mark.parametrize("name", GRADIENT)
def test_an_update_in_two_micro_batches(name: str, finished: Finished) -> None:
    """As many updates on batches as large, in halves, and the record says so."""
    spec = make_spec(name, evaluation=PROTOCOL.model_copy(update={"curve_points": 0}))
    spec = spec.model_copy(update={"training": Training(accumulation=2)})
    whole, result = finished[name].read_result(), run_to_end(spec, finished.runs).read_result()
    assert result.meters.steps == whole.meters.steps
    for made, halved, stage in zip(load_method(name, **quick(name)).stages, result.stages, whole.stages, strict=True):
        if isinstance(made, Train) and made.optimiser.takes == "gradient":
            assert stage.micro_batch is not None and halved.micro_batch == (stage.micro_batch + 1) // 2


@pytest.mark.parametrize("name", TRAINED)
def test_a_budget_of_zero_changes_nothing(name: str, finished: Finished, runs: Path) -> None:
    spec = make_spec(name, steps=0)
    directory = run_to_end(spec, runs)
    assert directory.read_result().meters.steps == 0
    if name in STARTS_ELSEWHERE:
        return
    start = make_spec("base", model=start_model(name)).model_copy(update={"task": spec.task})
    base = finished["base"] if start == make_spec("base") else run_to_end(start, runs)
    assert [row["completion"] for row in rows(directory)] == [row["completion"] for row in rows(base)]


@pytest.mark.parametrize("name", TRAINED)
def test_only_declared_tensors_change(name: str, finished: Finished) -> None:
    """What was not declared trainable is bit for bit the start model's; what was declared has moved."""
    start = dict(load_model(start_model(name)).model().named_parameters())
    directory = finished[name]
    declared = directory.read_result().stages[-1].trainable_parameters
    if is_generator(directory.model):
        handle = load_model(start_model(name))
        opened = find_generator(directory.path).open(handle.model(), handle.tokenizer())
        assert sum(p.numel() for p in opened.hypernetwork.parameters()) == declared
        assert all(torch.equal(p, start[n]) for n, p in opened.base.named_parameters())
        assert digest_of(opened.named_parameters()) == directory.read_result().weights_digest
    elif is_adapter(directory.model):
        adapted = open_adapter(load_model(start_model(name)).model(), directory.model)
        plain = {
            n: n.replace("base_model.model.", "").replace("base_layer.", "") for n, _ in adapted.named_parameters()
        }
        tuned = {n: p for n, p in adapted.named_parameters() if plain[n] not in start}
        assert sum(p.numel() for p in tuned.values()) == declared
        ids = torch.arange(8)[None]
        untouched = load_model(start_model(name)).model()(ids).logits
        assert not torch.equal(adapted(ids).logits, untouched)
        with adapted.disable_adapter():
            assert torch.equal(adapted(ids).logits, untouched)
    else:
        final = dict(load_model(str(directory.model)).model().named_parameters())
        moved = sum(p.numel() for n, p in final.items() if not torch.equal(p, start[n]))
        everything = sum(p.numel() for p in final.values())
        part = load_method(name).stages[-1].parameterisation.name
        if part == "untouched":
            assert declared == moved == 0
        else:
            assert declared == everything if part == "full" else moved <= declared < everything
            assert digest_of(final.items()) != digest_of(start.items())
        assert digest_of(final.items()) == directory.read_result().weights_digest


@pytest.mark.parametrize("name", TRAINED)
def test_export_and_reload_gives_the_same_logits(name: str, finished: Finished, tmp_path: Path) -> None:
    directory = finished[name]
    ids = torch.arange(3, 19)[None]
    if is_generator(directory.model):
        with pytest.raises(UserError, match=r"trained a generator: beyondrl generate"):
            export(directory.path, "peft", tmp_path / "peft")
        return
    if not is_adapter(directory.model):
        exported = load_model(str(export(directory.path, "hf", tmp_path / "hf"))).model().eval()
        original = load_model(str(directory.model)).model().eval()
        torch.testing.assert_close(exported(ids).logits, original(ids).logits)
        return
    folder = export(directory.path, "peft", tmp_path / "peft")
    original = open_adapter(load_model(start_model(name)).model(), folder).eval()
    if getattr(load_method(name, **quick(name)).stages[-1].parameterisation, "mergeable", True):
        exported = load_model(str(export(directory.path, "hf", tmp_path / "hf"))).model().eval()
        merged, apart = exported.double()(ids).logits, original.double()(ids).logits  # what the merge alone rounds
        torch.testing.assert_close(merged, apart, rtol=1.3e-6, atol=1e-5)
    else:
        with pytest.raises(UserError, match="cannot be merged"):
            export(directory.path, "hf", tmp_path / "hf")
