"""Rejection-sampling fine-tuning in rounds: sample, keep what is right, imitate it, and again from there.

With `restart` each round's samples are imitated by the untouched start model, as in STaR; without, the policy that gave
them goes on, as in ReST. Sane settings: 4 to 100 samples a prompt at temperature 0.7 to 1.0, 1 to 4 right ones kept;
learning rate 1e-5 to 5e-5 for all parameters, 1e-4 to 5e-4 for LoRA.
"""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.rejection import rejection
from methods.objectives.replay import Replay
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import (
    BatchSize,
    Examples,
    KeptPerPrompt,
    LearningRate,
    ReplayShare,
    ReplayTask,
    Restart,
    Rounds,
    SamplesPerPrompt,
    SamplingShare,
    Temperature,
)


@method("rft", version=1, source="Yuan et al. 2023, arXiv 2308.01825, section 3.3; rounds as in ReST, arXiv 2308.08998")
def rft(
    learning_rate: LearningRate = 2e-5,
    rounds: Rounds = 1,
    batch_size: BatchSize = 32,
    prompts: Examples = 2000,
    samples: SamplesPerPrompt = 8,
    keep: KeptPerPrompt = 4,
    temperature: Temperature = 1.0,
    sampling_share: SamplingShare = 0.5,
    restart: Restart = False,
    replay: ReplayShare = 0.0,
    replay_task: ReplayTask = None,
) -> Pipeline:
    """Supervised fine-tuning on the policy's own right answers, the budget divided equally among the rounds."""
    replayed = Replay(replay, replay_task)
    objective = rejection(batch_size, prompts, samples, keep, temperature, sampling_share, replayed, restart)
    one_round = Train(objective, full(), adamw(learning_rate, "linear"), share=1 / rounds)
    return Pipeline.of(*[one_round] * rounds)
