"""One generation: every member's answers to one batch of questions, graded; or its likelihood of given texts.

What is evaluated is charged to the run's budget. The members of a generation are evaluated in as few batches as the
engine's memory allows, dealt out to the processes of the run; which batch a member is in has no influence on it, up to
floating-point summation order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.contracts import Completion, FitnessObjective, Item, Likelihood, LikelihoodObjective

if TYPE_CHECKING:
    from harness.context import StageContext
    from harness.engines.side_path import Members


@dataclass
class Generation:
    """Scores [members, prompts] and what else there is to say of the answers."""

    items: Sequence[Item]
    scores: np.ndarray
    measures: dict[str, float]

    @property
    def fitness(self) -> np.ndarray:
        """Mean score of every member, float64."""
        return np.asarray(self.scores.mean(axis=1))

    def values(self) -> dict[str, float]:
        """What is logged of a generation: spread apart from level, answers apart from format."""
        fitness = self.fitness
        return {
            "reward": float(fitness.mean()),
            "reward_std": float(fitness.std()),
            "reward_max": float(fitness.max()),
            **self.measures,
        }


def evaluate_members(
    stage: StageContext,
    objective: FitnessObjective,
    members: Callable[[Sequence[int]], Members],
    population: int,
    bytes_a_member: int,
    names: Sequence[str],
    whole: int = 1,
) -> Generation:
    """Score the population; `members(group)` makes the tensors of some of it, `whole` neighbours stay together."""
    from harness.engines.choice import population_of

    items = objective.batch(stage, stage.step)
    scored = isinstance(objective, LikelihoodObjective)
    # Likelihoods of given texts are one forward pass: the embedded engine's in any case, as a gradient's would be.
    engine = population_of("hf" if scored else stage.run.spec.evaluation.engine, stage.policy)
    size = engine.group_size(bytes_a_member, names, len(items), *longest_text(stage, objective, items))
    size = max(1, size - size % whole) if size > 1 else 1
    asked = objective.texts(stage, items) if scored else [stage.task.prompt(item) for item in items]

    def answers(mine: range) -> list[list[Any]]:
        """Of the members that stand at these places, `whole` a place."""
        found: list[list[Any]] = []
        last = min(mine.stop * whole, population)
        for first in range(mine.start * whole, last, size):
            group = range(first, min(first + size, last))
            made = members(group)
            if scored:
                found += engine.likelihoods(made, len(group), asked)
                continue
            with stage.run.meters.clock("generate"):
                found += engine.generate(made, len(group), asked, stage.sampling(0.0), 0, logprobs=False)
        return [found[place : place + whole] for place in range(0, len(found), whole)]

    of_members = [one for place in stage.run.ranks.deal(-(-population // whole), answers) for one in place]
    if scored:
        return Generation(items, _likelihoods(stage, of_members, asked), {})
    return _graded(stage, objective, items, of_members)


def longest_text(stage: StageContext, objective: FitnessObjective, items: Sequence[Item]) -> tuple[int, int]:
    """Tokens of the longest text that is read, and how many may be generated after it."""
    from harness.engines.hf import encode

    if isinstance(objective, LikelihoodObjective):
        return max(len(prompt) + len(completion) for prompt, completion in objective.texts(stage, items)), 0
    lengths = [len(encode(stage.policy.tokenizer, stage.task.prompt(item))) for item in items]
    return max(lengths), stage.sampling(0.0).max_new_tokens


def _graded(
    stage: StageContext, objective: FitnessObjective, items: Sequence[Item], answers: list[list[Completion]]
) -> Generation:
    """Every member's answers [members][prompts], charged and graded."""
    seen: dict[str, list[float]] = {}
    scores = []
    for completions in answers:
        stage.charge_generation(completions)
        row = []
        for item, completion in zip(items, completions, strict=True):
            seen.setdefault("truncated", []).append(completion.truncated)
            grade = objective.grade(stage, item, completion.text) if hasattr(objective, "grade") else None
            if grade is not None:
                seen.setdefault("correct", []).append(grade.correct)
                seen.setdefault("well_formed", []).append(grade.well_formed)
            row.append(objective.score(stage, item, completion.text) if grade is None else grade.reward)
        scores.append(row)
    measures = {name: float(np.mean(values)) for name, values in seen.items()}
    return Generation(items, np.array(scores, dtype=np.float64), measures)


def _likelihoods(stage: StageContext, found: list[list[Likelihood]], texts: Sequence[Any]) -> np.ndarray:
    """Every member's mean log-likelihood a token of each text [members, texts], charged."""
    stage.charge_forward_training(len(found) * sum(len(prompt) + len(completion) for prompt, completion in texts))
    return np.array([[one.logprob / one.tokens for one in of_member] for of_member in found], dtype=np.float64)
