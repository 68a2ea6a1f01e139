"""Iterative preference optimisation: in every round new pairs from the present policy, against the present policy.

-log sigmoid(beta (r_chosen - r_rejected)) - nll_weight * mean_t log pi(chosen_t), r = log pi / pi_ref summed over a
completion. Round k samples `samples` answers a prompt from the policy of round k - 1, which is its reference too; the
prompts are the same in every round, the pairs new. The paper: 30 samples and 10 pairs a prompt, beta 0.1, weight 1,
learning rate 7e-7 (full; ten times that for LoRA), batches of 16, four rounds. Where a task's data hold pairs, every
round learns from those.
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
    Rounds,
    SamplesPerPrompt,
    SamplingShare,
    Schedule,
    Temperature,
)


@method("iterative-dpo", version=1, source="Pang et al. 2024, arXiv 2404.19733, section 2 (Iterative RPO)")
def iterative_dpo(
    learning_rate: LearningRate = 7e-7,
    rounds: Rounds = 4,
    beta: Beta = 0.1,
    nll_weight: NLLWeight = 1.0,
    schedule: Schedule = "linear",
    batch_size: BatchSize = 16,
    prompts: Examples = 2000,
    samples: SamplesPerPrompt = 30,
    pairs_per_prompt: PairsPerPrompt = 10,
    temperature: Temperature = 0.8,
    sampling_share: SamplingShare = 0.4,
) -> Pipeline:
    """DPO plus the log-likelihood of right answers in rounds of fresh pairs, the budget divided equally among them."""
    losses = (("sigmoid", 1.0), ("sft", nll_weight))
    objective = preferences(
        beta, batch_size, prompts, samples, pairs_per_prompt, temperature, sampling_share, losses, "iterative-dpo"
    )
    one_round = Train(objective, full(), adamw(learning_rate, schedule), share=1 / rounds)
    return Pipeline.of(*[one_round] * rounds)
