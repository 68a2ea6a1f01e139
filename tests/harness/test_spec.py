"""The identity of a run: what changes it, what does not, and that it is the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from harness.errors import UserError
from harness.record import RunDirectory
from harness.registry import find_method
from harness.spec import Budget, Component, EvaluationProtocol, ModelReference, RunSpec
from harness.training import Training

BASIS: dict[str, Any] = {
    "method": {"name": "sft", "version": 1, "parameters": {"learning_rate": 0.001, "batch_size": 4}},
    "task": {"name": "countdown", "version": 1, "parameters": {"level": "L1"}},
    "model": {"name": "lab", "revision": "0123456789abcdef"},
    "budget": {"steps": 4},
    "seed": 0,
    "evaluation": {"split": "val", "items": 6, "max_new_tokens": 40},
}
RUN_ID = "ac42f438053af55e"


def changed(path: str, value: Any) -> RunSpec:
    """The basis with one entry replaced."""
    keys = path.split(".")
    content: Any = {key: dict(part) if isinstance(part, dict) else part for key, part in BASIS.items()}
    place = content
    for key in keys[:-1]:
        place[key] = dict(place.get(key, {}))
        place = place[key]
    place[keys[-1]] = value
    return RunSpec(**content)


CHANGES: list[tuple[str, Any]] = [
    ("method.name", "dpo"),
    ("method.version", 2),
    ("method.parameters.learning_rate", 0.002),
    ("method.parameters.another", None),
    ("task.name", "sudoku"),
    ("task.version", 2),
    ("task.parameters.level", "L2"),
    ("task.data.level", "ab" * 32),
    ("method.data.learning_rate", "ab" * 32),
    ("model.name", "lab-2"),
    ("model.revision", "0123456789abcdee"),
    ("budget.steps", 5),
    ("budget.device_seconds", 60),
    ("budget.generated_tokens", 1),
    ("budget.trained_tokens", 1),
    ("budget.rollouts", 1),
    ("budget.flops", 1),
    ("seed", 1),
    ("evaluation.split", "test"),
    ("evaluation.items", 7),
    ("evaluation.retention", {"probes": []}),
    ("evaluation.temperature", 1.0),
    ("evaluation.top_p", 0.9),
    ("evaluation.max_new_tokens", 41),
    ("evaluation.engine", "vllm"),
    ("evaluation.curve_points", 1),
    ("evaluation.curve_items", 1),
    ("schema_version", 2),
    ("training.schedule", "constant"),
    ("training.warmup_steps", 0),
    ("training.max_grad_norm", 0.5),
    ("training.accumulation", 1),
    ("training.gradient_checkpointing", False),
    ("training.early_stopping", False),
    ("training.early_stopping", {"patience": 1}),
    ("training.early_stopping", {"patience": 1, "min_delta": 0.1}),
    ("control", "shuffled"),
]


@pytest.mark.parametrize(("path", "value"), CHANGES)
def test_every_field_counts(path: str, value: Any) -> None:
    assert changed(path, value).run_id != RunSpec(**BASIS).run_id


def test_every_field_has_been_tried() -> None:
    """A field added to a spec must be added to the list above (or belong elsewhere)."""
    tried = {path for path, _ in CHANGES} | {"evaluation.samples"}  # samples counts too: it needs a temperature
    for record, prefix in (
        (Component, "method."),
        (Component, "task."),
        (ModelReference, "model."),
        (Budget, "budget."),
        (EvaluationProtocol, "evaluation."),
        (Training, "training."),
    ):
        for field in record.model_fields:
            assert any(path.startswith(prefix + field) for path in tried), prefix + field
    for field in RunSpec.model_fields:
        assert any(path.split(".")[0] == field for path in tried), field


def test_samples_count() -> None:
    one, two = (
        RunSpec(**{**BASIS, "evaluation": {"temperature": 1.0, "samples": samples}}).run_id for samples in (1, 2)
    )
    assert one != two


def test_all_identities_differ() -> None:
    identities = [changed(path, value).run_id for path, value in CHANGES]
    assert len(set(identities)) == len(identities)


def test_the_identity_is_pinned() -> None:
    """The hash of the canonical text, written out: runs recorded yesterday are found tomorrow."""
    spec = RunSpec(**{**BASIS, "budget": {"steps": 4}, "evaluation": {"items": 6}})
    assert spec.canonical().startswith('{"budget":{"device_seconds":null,"flops":null,"generated_tokens":null,')
    assert spec.run_id == RUN_ID


def test_training_options_that_nobody_gave_leave_no_trace() -> None:
    """A run planned before there were such options is the same run as one without any."""
    pinned = {**BASIS, "budget": {"steps": 4}, "evaluation": {"items": 6}}
    for nothing in ({}, {"accumulation": None}, Training()):
        spec = RunSpec(**pinned, training=nothing)
        assert spec.run_id == RUN_ID and "training" not in spec.canonical()
    given = RunSpec(**pinned, training={"accumulation": 2})
    assert '"training":{"accumulation":2}' in given.canonical() and given.run_id != RUN_ID


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_identity_is_the_same_in_another_process(hash_seed: str) -> None:
    program = "import sys; from harness.spec import RunSpec; print(RunSpec.model_validate_json(sys.argv[1]).run_id)"
    spec = RunSpec(**BASIS)
    answer = subprocess.run(
        [sys.executable, "-c", program, spec.model_dump_json()],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == spec.run_id


def test_the_order_of_keys_does_not_count() -> None:
    backwards = {key: BASIS[key] for key in reversed(BASIS)}
    backwards["method"] = {**BASIS["method"], "parameters": {"batch_size": 4, "learning_rate": 0.001}}
    assert RunSpec(**backwards).run_id == RunSpec(**BASIS).run_id


def test_a_default_written_out_does_not_count() -> None:
    assert changed("evaluation.temperature", 0).run_id == RunSpec(**BASIS).run_id
    assert changed("budget.flops", None).run_id == RunSpec(**BASIS).run_id


@pytest.mark.parametrize("written", ["0.001", "1e-3", "1.0e-3", "1E-03", "'1e-3'", "0.0010"])
def test_one_number_however_written_is_one_run(written: str) -> None:
    """YAML reads 1e-3 as text and 1.0e-3 as a number; both are the same setting."""
    value = yaml.safe_load(written)
    component = find_method("sft").resolve({"learning_rate": value})
    plain = find_method("sft").resolve({"learning_rate": 0.001})
    ids = {RunSpec(**{**BASIS, "method": one}).run_id for one in (component, plain)}
    assert len(ids) == 1


def test_whole_numbers_and_floats_are_one_run() -> None:
    assert changed("budget.device_seconds", 60).run_id == changed("budget.device_seconds", 60.0).run_id
    resolved = [find_method("dpo").resolve({"beta": beta}) for beta in (1, 1.0, "1")]
    assert len({RunSpec(**{**BASIS, "method": one}).run_id for one in resolved}) == 1


def test_a_default_of_a_method_counts_as_its_value() -> None:
    entry = find_method("sft")
    default = entry.parameters["learning_rate"].default
    assert entry.resolve({}) == entry.resolve({"learning_rate": default})


def test_output_folders_have_no_part_in_it(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = RunSpec(**BASIS)
    here, there = RunDirectory.of(tmp_path / "here", spec), RunDirectory.of(tmp_path / "there", spec)
    assert here.path.name == there.path.name == spec.run_id
    monkeypatch.chdir(tmp_path)
    assert RunSpec(**BASIS).run_id == spec.run_id
    assert str(tmp_path) not in spec.canonical()


def test_a_spec_survives_its_own_text() -> None:
    spec = RunSpec(**BASIS)
    again = RunSpec.model_validate_json(spec.model_dump_json())
    assert again == spec and again.run_id == spec.run_id
    assert RunSpec.model_validate_json(spec.canonical()).run_id == spec.run_id


def test_a_spec_cannot_change_and_knows_its_keys() -> None:
    spec = RunSpec(**BASIS)
    with pytest.raises(ValidationError):
        spec.seed = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        RunSpec(**{**BASIS, "runs": "elsewhere"})
    with pytest.raises(ValidationError):
        Budget(seconds=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_limit_that_is_no_number_has_no_identity(value: float) -> None:
    with pytest.raises(ValueError):
        _ = changed("budget.flops", value).run_id


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_parameter_that_is_no_number_has_no_identity(value: float) -> None:
    with pytest.raises(ValueError):
        _ = changed("method.parameters.learning_rate", value).run_id


def test_not_a_number_is_no_setting() -> None:
    with pytest.raises(UserError, match="learning_rate"):
        find_method("sft").resolve({"learning_rate": float("nan")})


def test_infinity_is_no_setting() -> None:
    with pytest.raises(UserError, match="learning_rate"):
        find_method("sft").resolve({"learning_rate": float("inf")})


@pytest.mark.parametrize(
    "evaluation", [{"samples": 4}, {"items": 0}, {"top_p": 0.0}, {"temperature": -1.0}, {"split": "train"}]
)
def test_an_impossible_protocol_is_refused(evaluation: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EvaluationProtocol(**evaluation)


def test_limits_are_those_that_were_set() -> None:
    assert Budget(steps=4, flops=1e9).limits() == {"steps": 4.0, "flops": 1e9}
    assert Budget().limits() == {} and Budget(steps=0).limits() == {"steps": 0.0}


def test_data_counts_by_its_content_and_not_by_its_place() -> None:
    def run_id(path: str, digest: str) -> str:
        task = {"name": "gsm8k", "version": 1, "parameters": {"data": path}, "data": {"data": digest}}
        return changed("task", task).run_id

    assert run_id("/here", "ab" * 32) == run_id("/there", "ab" * 32) != run_id("/here", "cd" * 32)
