"""Distillation: the divergence written out, whose answers are learnt, what the teacher costs, and who may not teach."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import Qwen2ForCausalLM

from harness.context import StageContext
from harness.contracts import Resources
from harness.errors import UserError
from harness.events import read_events
from harness.export import export
from harness.models import load_model
from harness.plan import pairs, refusal
from harness.policy import digest_of
from harness.registry import find_method, load_method, load_task
from harness.worker import FAILED, work
from methods.objectives.teacher import load_teacher
from tests.conftest import finished_run, make_spec, place, run_to_end
from tests.methods.test_loss_parity import disturb
from tests.methods.test_loss_tensors import grpo_batch, same, same_gradients, trainer_of

Stages = Callable[..., StageContext]
DISTILLATIONS = ["distill-seq", "distill-onpolicy", "distill-trace"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of another size with the lab's tokenizer and a longer head, its last rows used by no token."""
    lab = load_model("lab")
    torch.manual_seed(0)
    config = type(lab.model().config)(**{**lab.configuration(), "num_hidden_layers": 1, "layer_types": None})
    config.vocab_size += 5
    folder = tmp_path_factory.mktemp("small")
    Qwen2ForCausalLM(config).save_pretrained(folder)
    lab.tokenizer().save_pretrained(folder)
    return folder


def divergence(teacher: torch.Tensor, student: torch.Tensor, beta: float) -> torch.Tensor:
    """JSD_beta of two [.., vocabulary] distributions, written out."""
    if beta == 0.0:
        return (teacher * (teacher.log() - student.log())).sum(-1)
    if beta == 1.0:
        return (student * (student.log() - teacher.log())).sum(-1)
    mixture = beta * teacher + (1 - beta) * student
    return beta * (teacher * (teacher.log() - mixture.log())).sum(-1) + (1 - beta) * (
        student * (student.log() - mixture.log())
    ).sum(-1)


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 1.0])
def test_the_divergence_is_the_generalised_jsd(beta: float, make_stage: Stages, small: Path) -> None:
    """1/T sum_t JSD_beta(teacher_t, student_t) over answer tokens; prompts and padding have no part."""
    trainer = trainer_of(make_stage("distill-onpolicy", teacher=str(small), beta=beta))
    model, teacher = trainer.model.train(), trainer.teacher_model
    disturb(model)
    batch = grpo_batch(trainer, torch.Generator().manual_seed(2))
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    kept = batch["completion_mask"]
    of_student, of_teacher = (
        F.softmax(one(input_ids=ids, attention_mask=mask).logits[:, 6:-1].double(), -1) for one in (model, teacher)
    )
    expected = (divergence(of_teacher.detach(), of_student, beta) * kept).sum() / kept.sum()
    loss = trainer.compute_loss(model, dict(batch))
    same(loss, expected.float())
    same_gradients(loss, expected, model)
    other = {**batch, "completion_ids": torch.where(kept == 1, batch["completion_ids"], 17)}
    same(trainer.compute_loss(model, other), expected.float())


def test_a_longer_head_is_cut_to_the_students(make_stage: Stages, small: Path) -> None:
    stage = make_stage("distill-onpolicy", teacher=str(small))
    trainer = trainer_of(stage)
    rows = stage.policy.model.config.vocab_size
    assert trainer.teacher_model.config.vocab_size == rows < load_model(str(small)).configuration()["vocab_size"]
    before = load_model(str(small)).model().get_output_embeddings().weight[:rows]
    assert torch.equal(trainer.teacher_model.get_output_embeddings().weight, before)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_answers_are_the_students_or_the_teachers(share: float, make_stage: Stages, small: Path) -> None:
    stage = make_stage("distill-onpolicy", on_policy=share, teacher=str(small))
    trainer = trainer_of(stage)
    teacher = load_teacher(str(small), stage.policy)
    teacher.policy.model.resize_token_embeddings(stage.policy.model.config.vocab_size)
    inputs = next(iter(trainer.get_train_dataloader()))
    prompts = [row["prompt"] for row in inputs]
    sampling, seed = stage.sampling(1.0), stage.seed("rollouts", 0)
    of_student = [one.token_ids for one in stage.generate(prompts, sampling, seed)]
    of_teacher = [one.token_ids for one in teacher.generate(stage, prompts, sampling, seed)]
    assert of_student != of_teacher, "both answer alike: this test would prove nothing"
    assert trainer._generate(prompts)[1] == (of_student if share else of_teacher)


def test_about_the_wanted_share_is_on_policy(make_stage: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make_stage("distill-onpolicy", on_policy=0.25)
    objective = load_method("distill-onpolicy", **stage.run.spec.method.parameters).stages[0].objective  # type: ignore[union-attr]
    asked: list[int] = []
    monkeypatch.setattr(StageContext, "generate", lambda self, *_: asked.append(1) or [])

    class Nobody:
        def generate(self, *_: object) -> list[object]:
            return []

    for step in range(200):
        objective.answers(stage, Nobody(), [], step)
    assert 30 <= len(asked) <= 70


def test_the_teacher_is_charged_by_its_own_size(small: Path, tmp_path: Path) -> None:
    """2N for what the student samples, 6N for what it trains on, 2M a token that a teacher of M parameters reads."""
    meters = run_to_end(make_spec("distill-onpolicy", teacher=str(small)), tmp_path).read_result().meters
    student, teacher = load_model("lab").parameters, load_model(str(small)).parameters
    teacher -= 5 * load_model("lab").configuration()["hidden_size"]  # the rows that were cut off
    assert teacher < student
    read = meters.prompt_tokens + meters.generated_tokens
    assert meters.trained_tokens == read > 0
    assert meters.flops == pytest.approx(2 * student * read + 6 * student * read + 2 * teacher * read)


def test_a_sequence_teacher_is_charged_and_what_it_says_is_kept(small: Path, tmp_path: Path) -> None:
    given = {"verified": False, "prompts": 8, "samples": 2}
    teacher = str(finished_run().path)
    spec = make_spec("distill-seq", teacher=teacher, **given)
    first = run_to_end(spec, tmp_path)
    meters = first.read_result().meters
    assert meters.rollouts == 16 and meters.generated_tokens > 0
    again = run_to_end(make_spec("distill-seq", teacher=teacher, batch_size=2, **given), tmp_path)
    (noted,) = [event for event in read_events(again.events) if event["kind"] == "rollouts"]
    assert not noted["sampled_here"] and again.read_result().meters.generated_tokens == meters.generated_tokens


def test_verified_answers_are_right(make_stage: Stages) -> None:
    stage = make_stage("distill-seq", prompts=64, samples=4, keep=2, verified=True)
    objective = load_method("distill-seq", **stage.run.spec.method.parameters).stages[0].objective  # type: ignore[union-attr]
    items = {str(stage.task.prompt(item)): item for item in stage.train_items(64)}
    found = objective.rows(stage)  # type: ignore[attr-defined]
    assert len(found) > 4 and all(stage.task.grade(items[row["prompt"]], row["completion"]).correct for row in found)
    unfiltered = make_stage("distill-seq", prompts=64, samples=4, keep=2, seed=3)
    every = load_method("distill-seq", **unfiltered.run.spec.method.parameters).stages[0].objective.rows(unfiltered)  # type: ignore[union-attr]
    assert not all(stage.task.grade(items[row["prompt"]], row["completion"]).correct for row in every)


@pytest.mark.parametrize("method", DISTILLATIONS)
def test_without_a_teacher_it_is_refused_in_one_sentence(method: str) -> None:
    reason = refusal(load_method(method), load_task("countdown"))
    option = "traces=PATH" if method == "distill-trace" else "teacher=NAME"
    assert reason is not None and f"{method!r} needs {option}" in reason and "\n" not in reason
    listed = {(pair.method, pair.task): pair for pair in pairs()}
    assert option in str(listed[method, "countdown"].reason)


def test_another_vocabulary_is_refused_for_distributions_alone() -> None:
    task, lab = load_task("countdown"), load_model("lab").reference()
    reason = refusal(load_method("distill-onpolicy", teacher="lab-reader"), task, lab)
    assert reason is not None and "lab-reader has another vocabulary than lab" in reason and "distill-seq" in reason
    assert refusal(load_method("distill-onpolicy", teacher="lab"), task, lab) is None
    assert refusal(load_method("distill-seq", teacher="lab-reader"), task, lab) is None


def test_an_unknown_or_unfinished_teacher_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No model is called 'labb'"):
        find_method("distill-seq").resolve({"teacher": "labb"})
    half = tmp_path / "half"
    half.mkdir()
    shutil.copy(finished_run().spec, half / "spec.json")
    with pytest.raises(UserError, match="is new, not done"):
        find_method("distill-seq").resolve({"teacher": str(half)})


def test_the_teachers_weights_not_their_place_are_the_identity(tmp_path: Path, small: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small, copy)
    one, other = (make_spec("distill-seq", teacher=str(place)) for place in (small, copy))
    assert one.run_id == other.run_id != make_spec("distill-seq", teacher="lab").run_id
    moved = tmp_path / "runs" / "countdown" / "rft" / "moved"
    shutil.copytree(finished_run().path, moved)
    assert make_spec("distill-seq", teacher=str(moved)).run_id == make_spec("distill-seq").run_id


def test_a_teacher_that_changed_after_the_plan_stops_the_run(tmp_path: Path, small: Path) -> None:
    folder = tmp_path / "teacher"
    shutil.copytree(small, folder)
    directory = place(make_spec("distill-seq", teacher=str(folder)), tmp_path / "runs")
    (folder / "generation_config.json").write_text("{}")
    assert work(directory.path, Resources()) == FAILED
    assert "The data of this run's method has changed since it was planned" in directory.read_failure().message


def test_a_run_teaches_with_its_final_weights(make_stage: Stages) -> None:
    stage = make_stage("distill-seq")
    teacher = load_teacher(stage.run.spec.method.parameters["teacher"], stage.policy)
    assert teacher.policy.digest() == finished_run().read_result().weights_digest != stage.policy.digest()


def test_a_run_with_an_adapter_teaches_merged(make_stage: Stages, tmp_path: Path) -> None:
    run = run_to_end(make_spec("lora-es"), tmp_path)
    teacher = load_teacher(str(run.path), make_stage("sft").policy)
    assert not any("lora" in name for name, _ in teacher.policy.model.named_parameters())
    start = dict(load_model("lab").model().named_parameters())
    assert any(not torch.equal(start[name], tensor) for name, tensor in teacher.policy.model.named_parameters())


def test_an_adapter_on_weights_of_earlier_stages_teaches_with_them(make_stage: Stages, tmp_path: Path) -> None:
    run = run_to_end(make_spec("lora+sft-dpo"), tmp_path)
    teacher = load_teacher(str(run.path), make_stage("sft").policy)
    exported = load_model(str(export(run.path, "hf", tmp_path / "hf"))).model()
    assert teacher.policy.digest() == digest_of(exported.named_parameters())


def objective_rows(stage: StageContext) -> list[dict[str, str]]:
    objective = load_method("distill-trace", **stage.run.spec.method.parameters).stages[0].objective  # type: ignore[union-attr]
    return list(objective.rows(stage))  # type: ignore[attr-defined]


def test_a_finished_runs_right_answers_are_learnt(make_stage: Stages) -> None:
    stage = make_stage("distill-trace", keep=2)
    items = {str(stage.task.prompt(item)): item for item in stage.train_items(64)}
    found = objective_rows(stage)
    assert len(found) > 4 and all(stage.task.grade(items[row["prompt"]], row["completion"]).correct for row in found)
    assert max(sum(row["prompt"] == prompt for row in found) for prompt in items) <= 2


def test_a_file_of_traces(make_stage: Stages, tmp_path: Path) -> None:
    task = make_stage("sft").task
    items = task.items("train", 3)
    chat = [{"role": "user", "content": "what is 2"}, {"role": "assistant", "content": "two"}]
    lines = [
        {"prompt": task.prompt(items[0]), "completion": task.demonstration(items[0])},
        {"prompt": task.prompt(items[1]), "completion": "wrong"},
        {"messages": chat},
    ]
    file = tmp_path / "traces.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    stage = make_stage("distill-trace", traces=str(file))
    found = objective_rows(stage)
    assert [row["completion"] for row in found] == [task.demonstration(items[0]), [chat[1]]]
    (noted,) = [event for event in read_events(stage.run.directory.events) if event["kind"] == "traces"]
    assert (noted["right"], noted["wrong"], noted["ungraded"]) == (1, 1, 1)


def test_traces_of_evaluated_questions_are_refused(make_stage: Stages, tmp_path: Path) -> None:
    task = make_stage("sft").task
    item = task.items("val", 1)[0]
    file = tmp_path / "traces.jsonl"
    file.write_text(json.dumps({"prompt": task.prompt(item), "completion": task.demonstration(item)}))
    with pytest.raises(UserError, match="answers a question that this run is evaluated on"):
        objective_rows(make_stage("distill-trace", traces=str(file)))


def test_a_run_without_stored_answers_says_what_to_do(tmp_path: Path) -> None:
    run = run_to_end(make_spec("sft"), tmp_path)
    with pytest.raises(UserError, match=r"stored no answers to training questions.*distill-seq with teacher="):
        find_method("distill-trace").resolve({"traces": str(run.path)})
    file = tmp_path / "bad.jsonl"
    file.write_text('{"prompt": 3}\n')
    with pytest.raises(UserError, match="line 1: a trace has prompt and completion"):
        load_method("distill-trace", traces=str(file))
        from methods.objectives.traces import read_traces

        read_traces(str(file))


def test_a_missing_setting_is_no_reason_to_name_another_method_but_a_task_is() -> None:
    words, likelihoods = load_task("countdown", level="L0"), load_task("filler")
    assert "Nearest" not in str(refusal(load_method("distill-seq"), words))
    assert "Nearest" not in str(refusal(load_method("sft", replay=0.2), words))
    reason = str(refusal(load_method("distill-seq", teacher="lab"), likelihoods))
    assert reason.endswith("No registered method can train on 'filler' (beyondrl list pairs).")
