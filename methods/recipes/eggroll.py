"""EGGROLL: evolution strategies over full matrices with perturbations of low rank.

M <- M + alpha / N sum_n c_n E_n with E_n = A_n B_n^T / sqrt(rank), mirrored pairs, and c_n the member's mean over
prompts of (score - the prompt's mean over members) / one global standard deviation (section 3 and the LLM appendix).
A member costs two thin products a layer; the update of a generation has full rank. Defaults: Countdown on 1.5B
(table 10), whose code's learning rate 0.125 is alpha = 0.125 sigma sqrt(N) = 2 sigma.
"""

from __future__ import annotations

from harness.contracts import Pipeline, Train
from harness.registry import method
from methods.objectives.task_reward import task_reward
from methods.optimisers.evolution import evolution
from methods.parameterisations.matrices import matrices
from methods.settings import (
    Anchor,
    EggrollStepRatio,
    Examples,
    Mirrored,
    NoiseRank,
    Population,
    Probe,
    PromptsPerStep,
    Shaping,
    Sigma,
)


@method("eggroll", version=2, source="Sarkar et al. 2025, arXiv 2511.16652, section 3 and LLM experiments")
def eggroll(
    sigma: Sigma = 7e-4,
    step_ratio: EggrollStepRatio = 2.0,
    population: Population = 256,
    prompts: PromptsPerStep = 6,
    examples: Examples = 2000,
    noise_rank: NoiseRank = 1,
    mirrored: Mirrored = True,
    shaping: Shaping = "per-prompt",
    anchor: Anchor = 0.0,
    probe_sigma: Probe = False,
) -> Pipeline:
    """Evolution strategies over the linear layers' matrices, perturbed by products of thin ones."""
    search = evolution(
        sigma,
        step_ratio * sigma,
        population,
        kind="low-rank",
        rank=noise_rank,
        mirrored=mirrored,
        shaping=shaping,
        anchor=anchor,
        probe=probe_sigma,
    )
    return Pipeline.of(Train(task_reward(prompts, examples), matrices(), search))
