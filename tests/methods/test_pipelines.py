"""Restarts and the R1 pipeline: which weights a stage begins with, and how one budget is shared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from harness.context import StageContext
from harness.contracts import Train
from harness.errors import UserError
from harness.models import load_model
from harness.registry import load_method
from methods.objectives.rejection import Rejection
from tests.conftest import QUICK, make_spec, run_to_end
from tests.methods.test_loss_parity import disturb
from tests.methods.test_loss_tensors import trainer_of

Stages = Callable[..., StageContext]


def stages_of(**parameters: object) -> list[Train]:
    return [stage for stage in load_method("r1", **parameters).stages if isinstance(stage, Train)]


def test_r1_is_cold_start_grpo_rejection_grpo() -> None:
    stages = stages_of()
    assert [stage.objective.name for stage in stages] == ["sft", "grpo", "rft", "grpo"]
    assert [stage.share for stage in stages] == [0.15, 0.35, 0.2, None]
    assert isinstance(stages[2].objective, Rejection) and stages[2].objective.restart


def test_r1_may_end_in_a_distillation_into_the_start_model() -> None:
    stages = stages_of(distil_share=0.2)
    assert [stage.objective.name for stage in stages] == ["sft", "grpo", "rft", "grpo", "rft"]
    assert stages[3].share == pytest.approx(0.1) and stages[4].share is None
    assert isinstance(stages[4].objective, Rejection) and stages[4].objective.restart


def test_shares_that_leave_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="leave some of the budget for the last GRPO"):
        load_method("r1", sft_share=0.5, grpo_share=0.4, rejection_share=0.2)


@pytest.mark.parametrize("distil", [0.0, 0.2])
def test_every_stage_of_r1_has_its_share_of_the_updates(distil: float, tmp_path: Path) -> None:
    """Shares that are sums of fifths end where they say, to the update; the last stage has what is left."""
    spec = make_spec("r1", steps=5, sft_share=0.2, grpo_share=0.2, rejection_share=0.2, distil_share=distil)
    stages = run_to_end(spec, tmp_path).read_result().stages
    assert [stage.meters.steps for stage in stages] == ([1, 1, 1, 1, 1] if distil else [1, 1, 1, 2])


def same_weights(model: torch.nn.Module) -> bool:
    start = dict(load_model("lab").model().named_parameters())
    return all(torch.equal(start[name], tensor) for name, tensor in model.named_parameters())


@pytest.mark.parametrize("restart", [False, True])
def test_a_restart_learns_the_policys_answers_from_the_start_model(restart: bool, make_stage: Stages) -> None:
    stage = make_stage("rft", restart=restart)
    disturb(stage.policy.model)
    with torch.no_grad():  # a little, so that it still answers right sometimes
        start = dict(load_model("lab").model().named_parameters())
        for name, tensor in stage.policy.model.named_parameters():
            tensor.copy_(start[name] + 0.01 * (tensor - start[name]))
    digest = stage.policy.digest()
    trainer = trainer_of(stage)
    assert same_weights(trainer.model) == restart and (stage.policy.digest() == digest) != restart


def test_a_restart_with_nothing_left_to_train_keeps_the_policy(make_stage: Stages) -> None:
    stage = make_stage("rft", restart=True)
    stage.run.meters.count(steps=4)
    with torch.no_grad():
        next(iter(stage.policy.model.parameters())).add_(1e-4)
    digest = stage.policy.digest()
    trainer_of(stage)
    assert stage.policy.digest() == digest


def test_an_adapter_begins_anew_around_the_start_model(make_stage: Stages) -> None:
    """Round two of lora+rft: the base of its adapter is the lab again, not what round one made of it."""
    stage = make_stage("lora+rft", **{**QUICK["rft"], "restart": True})
    base = stage.policy.model.get_base_model()
    with torch.no_grad():
        for tensor in base.parameters():
            tensor.add_(1e-4)
    policy = stage.policy
    trainer = trainer_of(stage)
    assert stage.policy is policy and trainer.model is policy.model
    with policy.model.disable_adapter(), torch.no_grad():
        ids = torch.arange(3, 19)[None]
        assert torch.equal(policy.model(ids).logits, load_model("lab").model().eval()(ids).logits)
    assert 0 < policy.trainable_parameters < policy.total_parameters
