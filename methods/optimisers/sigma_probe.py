"""The sigma probe: how far must weights be disturbed before answers change?

Below some sigma no greedy answer changes and every reward is the same; far above it every answer is broken. The probe
disturbs four members (two mirrored pairs), counts the share of greedy answers that differ from the undisturbed
model's, and multiplies, divides and bisects sigma until that share is between 20% and 80%. What it generates is charged
to the run; what it tried is an event, `sigma_probe`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.contracts import FitnessObjective, LikelihoodObjective
from methods.optimisers.generation import longest_text

if TYPE_CHECKING:
    import torch

    from harness.context import StageContext
    from methods.optimisers.evolution import EvolutionStrategy

LOWEST, HIGHEST = 0.2, 0.8
_MEMBERS, _PROMPTS, _TRIES, _JUMP = 4, 16, 10, 8.0


def probed_sigma(
    strategy: EvolutionStrategy, stage: StageContext, objective: FitnessObjective, master: dict[str, torch.Tensor]
) -> float:
    """A sigma at which 20-80% of greedy answers change, or the nearest of ten tries."""
    if isinstance(objective, LikelihoodObjective):
        return strategy.sigma
    items = list(objective.batch(stage, 0))[:_PROMPTS]
    prompts = [stage.task.prompt(item) for item in items]
    small = replace(strategy, population=_MEMBERS, mirrored=True, shaping="z")
    search = small.noise_of(stage.seed("sigma-probe"), master)
    names = small.searched(master, 0)
    served = stage.policy.tensors()
    longest = longest_text(stage, objective, items)

    def answers(sigma: float) -> list[str]:
        from harness.engines.choice import population_of

        engine = population_of(stage.run.spec.evaluation.engine, stage.policy)
        bytes_a_member = search.member_bytes(names, served[names[0]].dtype)
        size = _MEMBERS if engine.group_size(bytes_a_member, names, 4, *longest) > 3 else 1
        texts: list[str] = []
        with stage.run.meters.clock("generate"):
            for first in range(0, _MEMBERS, size):
                group = range(first, first + size)
                members = search.members({name: master[name] for name in names}, sigma, group, served)
                for completions in engine.generate(members, size, prompts, stage.sampling(0.0), 0, logprobs=False):
                    stage.charge_generation(completions)
                    texts += [completion.text for completion in completions]
        return texts

    before = [completion.text for completion in stage.generate(prompts, stage.sampling(0.0), 0)]
    tried: list[tuple[float, float]] = []
    low, high, sigma = 0.0, math.inf, strategy.sigma
    for _ in range(_TRIES):
        changed = [text != base for text, base in zip(answers(sigma), before * _MEMBERS, strict=True)]
        share = sum(changed) / len(changed)
        tried.append((sigma, share))
        if LOWEST <= share <= HIGHEST:
            break
        low, high = (sigma, high) if share < LOWEST else (low, sigma)
        sigma = low * _JUMP if high == math.inf else high / _JUMP if low == 0.0 else math.sqrt(low * high)
    best = min(tried, key=lambda one: abs(one[1] - 0.5))[0]
    stage.run.events.write("sigma_probe", sigma=best, tried=[list(one) for one in tried], prompts=len(prompts))
    return best
