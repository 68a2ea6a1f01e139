"""Iterative and online DPO: fresh pairs, the right reference, and the loss on the sampled tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from harness.context import StageContext
from harness.events import EventLog, read_events
from harness.meters import MeterBank
from harness.micro_batches import MicroBatches
from harness.models import load_model
from harness.policy import Policy
from harness.record import Meters
from harness.registry import load_method, load_task
from harness.run_context import RunContext, newest_checkpoint, stage_start
from tests.conftest import kill_when, make_spec, place, run_to_end
from tests.methods.test_loss_parity import disturb, log_probabilities
from tests.methods.test_loss_tensors import rows, same, same_gradients, trainer_of

Stages = Callable[..., StageContext]


def test_iterative_dpo_samples_new_pairs_every_round(tmp_path: Path) -> None:
    done = run_to_end(make_spec("iterative-dpo"), tmp_path)
    noted = [event for event in read_events(done.events) if event["kind"] == "rollouts"]
    assert len({event["file"] for event in noted}) == 2 and all(event["sampled_here"] for event in noted)
    stages = done.read_result().stages
    assert all(stage.meters.generated_tokens > 0 for stage in stages)


def test_the_reference_of_a_round_is_where_it_began_also_after_a_kill(tmp_path: Path) -> None:
    """Killed in round two: taken up again, the reference is the end of round one, not the checkpoint, not the lab."""
    spec = make_spec("iterative-dpo")
    directory = place(spec, tmp_path)
    kill_when(directory, lambda run: any(run.checkpoint.glob("stage-1/checkpoint-1/state.json")))
    found, begun = newest_checkpoint(directory), stage_start(directory, 1)
    assert found is not None and begun is not None and found[1]["stage"] == 1
    task = load_task(spec.task.name, **spec.task.parameters)
    run = RunContext(spec, directory, task, MeterBank(Meters(**found[1]["meters"])), EventLog(directory.events))
    handle = load_model(str(begun[0]))
    policy = Policy(handle.model().requires_grad_(True), handle.tokenizer(), handle.path)
    stage = StageContext(run, 1, policy, begun=0.5, step=1, resume_from=found[0])
    train = load_method(spec.method.name, **spec.method.parameters).stages[1]
    reference = dict(train.objective.trainer(stage, train.optimiser).ref_model.named_parameters())  # type: ignore[union-attr]
    last = dict(handle.model().named_parameters())
    assert all(torch.equal(reference[name], tensor) for name, tensor in last.items())
    for other in (load_model("lab").model(), load_model(str(found[0])).model()):
        assert any(not torch.equal(last[name], tensor) for name, tensor in other.named_parameters())


def test_online_dpo_is_dpo_on_what_it_is_given(make_stage: Stages) -> None:
    """-log sigmoid(beta [log pi/pi_ref(chosen) - log pi/pi_ref(rejected)]) on fixed tensors; padding has no part."""
    stage = make_stage("online-dpo", beta=0.3)
    trainer = trainer_of(stage)
    model, reference = trainer.model.train(), stage.reference()
    ids, mask, answer = rows(trainer.processing_class.pad_token_id)
    batch = {"input_ids": ids, "attention_mask": mask, "completion_mask": answer}
    disturb(model)
    with torch.no_grad():
        of_reference = (log_probabilities(reference, ids, mask) * answer[:, 1:]).sum(-1)
    ratio = (log_probabilities(model, ids, mask) * answer[:, 1:]).sum(-1) - of_reference
    expected = -F.logsigmoid(0.3 * (ratio[:2] - ratio[2:])).mean()
    loss = trainer.compute_loss(model, dict(batch))
    same(loss, expected)
    same_gradients(loss, expected, model)
    same(trainer.compute_loss(model, {**batch, "input_ids": torch.where(mask == 1, ids, 17)}), expected)


def test_online_pairs_are_better_and_worse_answers_of_now(make_stage: Stages) -> None:
    stage = make_stage("online-dpo", prompts_per_step=32, examples=64)
    trainer, tokenizer, task = trainer_of(stage), stage.policy.tokenizer, stage.task
    items = {str(task.prompt(item)): item for item in stage.train_items(64)}
    asked = next(iter(trainer.get_train_dataloader()))
    batch = trainer._prepare_inputs(asked)
    ids, mask, answer = batch["input_ids"], batch["attention_mask"], batch["completion_mask"]
    half = len(ids) // 2
    assert 1 < half < 32, "every prompt or none is a tie: this test would prove nothing"
    prompts = [tokenizer.decode(i[(m == 1) & (a == 0)]) for i, m, a in zip(ids, mask, answer, strict=True)]
    texts = [tokenizer.decode(i[a == 1], skip_special_tokens=True) for i, a in zip(ids, answer, strict=True)]
    assert prompts[:half] == prompts[half:]
    rewards = [task.grade(items[prompt], text).reward for prompt, text in zip(prompts, texts, strict=True)]
    assert all(chosen > rejected for chosen, rejected in zip(rewards[:half], rewards[half:], strict=True))
    trainer.state.global_step += 1
    next_update = trainer._prepare_inputs(asked)
    trainer.state.global_step -= 1
    again = trainer._prepare_inputs(asked)
    disturb(trainer.model)
    moved = trainer._prepare_inputs(asked)
    assert torch.equal(again["input_ids"], ids)
    for other in (next_update, moved):
        assert other["input_ids"].shape != ids.shape or not torch.equal(other["input_ids"], ids)


def objective_of(stage: StageContext) -> Any:
    return load_method("online-dpo", **stage.run.spec.method.parameters).stages[0].objective  # type: ignore[union-attr]


def test_ties_alone_move_nothing(make_stage: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make_stage("online-dpo")
    real = stage.task.grade
    monkeypatch.setattr(stage.task, "grade", lambda item, text: replace(real(item, text), reward=0.5))
    trainer = trainer_of(stage)
    stage.accumulation = 2
    MicroBatches(stage, trainer, objective_of(stage).split)
    model = trainer.model.train()
    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    loss = trainer.compute_loss(model, inputs)
    assert float(loss) == 0.0
    assert all(float(tensor.grad.abs().sum()) == 0.0 for tensor in model.parameters())


def test_the_online_reference_is_the_start_policy_and_stays(make_stage: Stages) -> None:
    stage = make_stage("online-dpo")
    trainer = trainer_of(stage)
    disturb(trainer.model)
    start = dict(load_model("lab").model().named_parameters())
    for name, tensor in trainer.ref_model.named_parameters():
        assert torch.equal(tensor, start[name]) and not tensor.requires_grad
