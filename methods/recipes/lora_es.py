"""LoRA + ES: the same evolution strategy, moving only the low-rank factors: no backward pass, no copy of the base."""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.task_reward import task_reward
from methods.optimisers.evolution import evolution
from methods.parameterisations.lora import lora
from methods.settings import (
    AdapterSigma,
    Alternate,
    Anchor,
    Examples,
    LoraAlpha,
    Mirrored,
    Population,
    Probe,
    PromptsPerStep,
    Rank,
    Shaping,
    StepRatio,
)


@method("lora-es", version=2, source="Qiu et al. 2025, arXiv 2509.24372, section 3, over LoRA (arXiv 2106.09685)")
def lora_es(
    rank: Rank = 8,
    sigma: AdapterSigma = 0.1,
    step_ratio: StepRatio = 0.5,
    population: Population = 32,
    prompts: PromptsPerStep = 100,
    examples: Examples = 2000,
    lora_alpha: LoraAlpha = 8.0,
    alternate: Alternate = False,
    mirrored: Mirrored = False,
    shaping: Shaping = "z",
    anchor: Anchor = 0.0,
    probe_sigma: Probe = False,
) -> Pipeline:
    """Evolution strategies over LoRA factors; alpha = step_ratio * sigma.

    With `alternate`, B is searched in even iterations and A in odd ones: no cross term of their perturbations.
    """
    search = evolution(
        sigma,
        step_ratio * sigma,
        population,
        mirrored=mirrored,
        shaping=shaping,
        anchor=anchor,
        alternate=("lora_B", "lora_A") if alternate else (),
        probe=probe_sigma,
    )
    return Pipeline.of(Train(task_reward(prompts, examples), lora(rank, lora_alpha), search))
