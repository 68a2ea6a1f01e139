"""DPO with the negative log-likelihood of the right answer added: the loss of Iterative RPO.

-log sigmoid(beta (r_chosen - r_rejected)) - nll_weight * mean_t log pi(chosen_t); the second term keeps the likelihood
of right answers from falling (TRL takes its mean over all tokens of a batch, or with accumulation of a micro-batch).
"""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.dpo import preferences
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import (
    BatchSize,
    Beta,
    Examples,
    LearningRate,
    NLLWeight,
    PairsPerPrompt,
    SamplesPerPrompt,
    SamplingShare,
    Schedule,
    Temperature,
)


@method("dpo-nll", version=1, source="Pang et al. 2024, arXiv 2404.19733, section 2")
def dpo_nll(
    learning_rate: LearningRate = 7e-7,
    beta: Beta = 0.1,
    nll_weight: NLLWeight = 1.0,
    schedule: Schedule = "linear",
    batch_size: BatchSize = 32,
    prompts: Examples = 2000,
    samples: SamplesPerPrompt = 8,
    pairs_per_prompt: PairsPerPrompt = 4,
    temperature: Temperature = 1.0,
    sampling_share: SamplingShare = 0.4,
) -> Pipeline:
    """DPO plus the log-likelihood of right answers, on self-sampled, graded pairs."""
    objective = preferences(
        beta,
        batch_size,
        prompts,
        samples,
        pairs_per_prompt,
        temperature,
        sampling_share,
        (("sigmoid", 1.0), ("sft", nll_weight)),
        "dpo-nll",
    )
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
