"""A reward model of single steps, labelled by how often the start policy gets it right from there."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.process_reward_model import StepWise
from methods.optimisers.adamw import adamw
from methods.parameterisations.untouched import untouched
from methods.settings import (
    BatchSize,
    CompletionsPerPrompt,
    Continuations,
    Delimiter,
    Examples,
    HeldOut,
    LearningRate,
    SamplingShare,
    Schedule,
    StepAggregate,
    StepLabels,
    Temperature,
)


@method("process-reward-model", version=1, source="Wang et al. 2024 (Math-Shepherd), arXiv 2312.08935, section 3")
def process_reward_model(
    learning_rate: LearningRate = 1e-5,
    schedule: Schedule = "linear",
    batch_size: BatchSize = 32,
    prompts: Examples = 500,
    samples: CompletionsPerPrompt = 4,
    continuations: Continuations = 8,
    delimiter: Delimiter = "\n",
    labels: StepLabels = "hard",
    aggregate: StepAggregate = "min",
    temperature: Temperature = 1.0,
    sampling_share: SamplingShare = 0.6,
    held_out: HeldOut = 0.1,
) -> Pipeline:
    """Process reward model on Monte-Carlo step labels, written into the run's directory as `reward_model`.

    Needs a verifier. Sane: learning_rate 1e-6 to 1e-5 for 7B models and more below, continuations 4 to 16; the paper
    has 8 continuations, hard labels and the minimum over steps. A task whose answers hold no delimiter has one step.
    """
    objective = StepWise(
        batch_size,
        prompts,
        samples,
        continuations,
        delimiter,
        labels,
        aggregate,
        temperature,
        sampling_share,
        held_out,
    )
    return Pipeline.of(Train(objective, untouched(), adamw(learning_rate, schedule)))
