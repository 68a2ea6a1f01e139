"""Evolution strategies on all parameters, as in 'ES at Scale', with i.i.d. noise and a float32 master."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.task_reward import task_reward
from methods.optimisers.evolution import evolution
from methods.parameterisations.full import full
from methods.settings import Examples, Population, PromptsPerStep, Sigma, StepRatio


@method("es", version=1, source="Qiu et al. 2025, arXiv 2509.24372, section 3")
def es(
    sigma: Sigma = 1e-3,
    step_ratio: StepRatio = 0.5,
    population: Population = 30,
    prompts: PromptsPerStep = 200,
    examples: Examples = 200,
) -> Pipeline:
    """Evolution strategies over all parameters; alpha = step_ratio * sigma (the paper's pairing is 0.5)."""
    return Pipeline.of(Train(task_reward(prompts, examples), full(), evolution(sigma, step_ratio * sigma, population)))
