"""A reward model from pairs of right and wrong completions; the policy stays as it is, RL methods may then use it."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.reward_model import BradleyTerry
from methods.optimisers.adamw import adamw
from methods.parameterisations.untouched import untouched
from methods.settings import (
    BatchSize,
    Examples,
    HeldOut,
    LearningRate,
    PairsPerPrompt,
    SamplesPerPrompt,
    SamplingShare,
    Schedule,
    Temperature,
)


@method("reward-model", version=1, source="Ouyang et al. 2022, arXiv 2203.02155, equation 1")
def reward_model(
    learning_rate: LearningRate = 1e-5,
    schedule: Schedule = "linear",
    batch_size: BatchSize = 32,
    prompts: Examples = 2000,
    samples: SamplesPerPrompt = 8,
    pairs_per_prompt: PairsPerPrompt = 4,
    temperature: Temperature = 1.0,
    sampling_share: SamplingShare = 0.4,
    held_out: HeldOut = 0.1,
) -> Pipeline:
    """Bradley-Terry reward model on self-sampled, graded pairs, written into the run's directory as `reward_model`.

    Needs preferences, given or made by a verifier. Sane: learning_rate 1e-5 to 1e-4, one pass over the pairs. The
    run's own score is that of the untouched policy; the model's is `held_out/pair_accuracy`.
    """
    objective = BradleyTerry(batch_size, prompts, samples, pairs_per_prompt, temperature, sampling_share, held_out)
    return Pipeline.of(Train(objective, untouched(), adamw(learning_rate, schedule)))
