"""On-policy distillation: the student answers, the teacher says at every token what it would have said."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.distill_onpolicy import OnPolicyDistillation
from methods.objectives.replay import Replay
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import (
    DivergenceBeta,
    Examples,
    LearningRate,
    OnPolicyShare,
    PromptsPerStep,
    ReplayShare,
    ReplayTask,
    Schedule,
    TeacherModel,
    Temperature,
)


@method("distill-onpolicy", version=1, source="Agarwal et al. 2023, arXiv 2306.13649, algorithm 1 (GKD)")
def distill_onpolicy(
    teacher: TeacherModel = None,
    learning_rate: LearningRate = 1e-6,
    beta: DivergenceBeta = 1.0,
    on_policy: OnPolicyShare = 1.0,
    schedule: Schedule = "linear",
    prompts_per_step: PromptsPerStep = 32,
    temperature: Temperature = 1.0,
    examples: Examples = 2000,
    replay: ReplayShare = 0.0,
    replay_task: ReplayTask = None,
) -> Pipeline:
    """Generalised JSD to a teacher of the same vocabulary (teacher=NAME) on the student's own answers."""
    objective = OnPolicyDistillation(
        teacher, beta, on_policy, prompts_per_step, temperature, examples, Replay(replay, replay_task)
    )
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
