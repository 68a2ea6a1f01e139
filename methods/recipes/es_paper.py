"""'ES at Scale' as its published code runs it: tensors of equal shape share one draw of noise. For reproduction only.

The paper says i.i.d. noise (that is `es`); the code seeds its generator anew for every tensor, so that layers are tied:
3 to 11 times fewer directions are searched, and on a linear reward the step is along the sum over tied tensors.
"""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.task_reward import task_reward
from methods.optimisers.evolution import evolution
from methods.parameterisations.full import full
from methods.settings import Examples, Population, PromptsPerStep, Sigma, StepRatio


@method("es-paper", version=1, source="Qiu et al. 2025, arXiv 2509.24372, as the code accompanying it behaves")
def es_paper(
    sigma: Sigma = 1e-3,
    step_ratio: StepRatio = 0.5,
    population: Population = 30,
    prompts: PromptsPerStep = 200,
    examples: Examples = 200,
) -> Pipeline:
    """Evolution strategies over all parameters with the published code's tied noise; for reproduction, else use es."""
    search = evolution(sigma, step_ratio * sigma, population, kind="tied")
    return Pipeline.of(Train(task_reward(prompts, examples), full(), search))
