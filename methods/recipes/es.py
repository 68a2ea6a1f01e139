"""Evolution strategies on all parameters, as in 'ES at Scale', with i.i.d. noise and a float32 master."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.task_reward import task_reward
from methods.optimisers.evolution import evolution
from methods.parameterisations.full import full
from methods.settings import (
    Anchor,
    Examples,
    Mirrored,
    Population,
    Probe,
    PromptsPerStep,
    Shaping,
    Sigma,
    StepRatio,
)


@method("es", version=2, source="Qiu et al. 2025, arXiv 2509.24372, section 3")
def es(
    sigma: Sigma = 1e-3,
    step_ratio: StepRatio = 0.5,
    population: Population = 30,
    prompts: PromptsPerStep = 200,
    examples: Examples = 200,
    mirrored: Mirrored = False,
    shaping: Shaping = "z",
    anchor: Anchor = 0.0,
    probe_sigma: Probe = False,
) -> Pipeline:
    """Evolution strategies over all parameters; alpha = step_ratio * sigma (the paper's pairing is 0.5)."""
    search = evolution(
        sigma,
        step_ratio * sigma,
        population,
        mirrored=mirrored,
        shaping=shaping,
        anchor=anchor,
        probe=probe_sigma,
    )
    return Pipeline.of(Train(task_reward(prompts, examples), full(), search))
