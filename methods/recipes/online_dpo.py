"""Online DPO: pairs are sampled from the present policy and judged by the verifier at every update."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.online_dpo import online_preferences
from methods.optimisers.adamw import adamw
from methods.parameterisations.full import full
from methods.settings import Beta, Examples, LearningRate, PromptsPerStep, SamplesPerPrompt, Schedule, Temperature


@method("online-dpo", version=1, source="Guo et al. 2024, arXiv 2402.04792, section 3, with the verifier as the judge")
def online_dpo(
    learning_rate: LearningRate = 5e-7,
    beta: Beta = 0.1,
    schedule: Schedule = "constant",
    prompts_per_step: PromptsPerStep = 32,
    samples: SamplesPerPrompt = 4,
    temperature: Temperature = 1.0,
    examples: Examples = 2000,
) -> Pipeline:
    """Direct preference optimisation on pairs that the policy writes as it learns; ties teach nothing."""
    objective = online_preferences(beta, prompts_per_step, samples, temperature, examples)
    return Pipeline.of(Train(objective, full(), adamw(learning_rate, schedule)))
