"""ESSA: CMA-ES on the singular values of an adapter's factors, their singular vectors kept.

Every searched matrix is U diag(s) V^T; a candidate replaces the largest share of s by s + x * s_max, so that one step
size fits factors of any scale (that unit is ours; arXiv 2507.04453 searches offsets). Full CMA-ES (pycma, the
reference implementation of Hansen 2016, arXiv 1604.00772) with its own defaults, minimising minus the mean reward;
the policy is the mean of its distribution. Draws come from the run's own stream, so that the state at any iteration
follows from the rewards in `replay.jsonl`: nothing of it is stored. A generation that all scores the same is not told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.contracts import FitnessObjective, Signal
from harness.errors import UserError
from methods.optimisers.generation import evaluate_members
from methods.optimisers.shaping import coefficients

if TYPE_CHECKING:
    import torch

    from harness.context import StageContext
    from harness.policy import Policy


class SingularValues:
    """The matrices of a policy as functions of one vector of offsets; `at(0)` is the policy itself."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], fraction: float) -> None:
        import torch

        self.parts: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]] = {}
        for name, tensor in tensors.items():
            if tensor.ndim == 2:
                left, values, right = torch.linalg.svd(tensor.detach().double().cpu(), full_matrices=False)
                self.parts[name] = (left, values, right, max(1, round(fraction * len(values))))
        if not self.parts:
            raise UserError("A search of singular values needs matrices, and this parameterisation has none: use lora.")

    @property
    def dimension(self) -> int:
        """Layers x matrices x 2 x rank x share for LoRA."""
        return sum(kept for *_, kept in self.parts.values())

    def at(self, offsets: np.ndarray) -> Iterator[tuple[str, torch.Tensor]]:
        """Every matrix, float32, at `offsets` [dimension]."""
        import torch

        first = 0
        for name, (left, values, right, kept) in self.parts.items():
            moved = values.clone()
            moved[:kept] += torch.from_numpy(np.array(offsets[first : first + kept])) * values[0]
            first += kept
            yield name, (left * moved @ right).float()


@dataclass(frozen=True)
class SingularValueSearch:
    """Fitness optimiser over the singular values of every searched matrix."""

    sigma: float
    population: int
    fraction: float = 1.0
    name = "cma-es"
    takes: Signal = "fitness"

    def fit(self, stage: StageContext, objective: FitnessObjective) -> None:
        """Generations until the budget is spent."""
        import torch

        from harness.replay_log import append_replay, fingerprint, keep_replay, read_replay_log

        served = stage.policy.tensors()
        space = SingularValues(served, self.fraction)
        search = self._search(space, stage.seed("perturbation"))
        log = stage.run.directory.replay
        keep_replay(log, stage.index, stage.step)
        if stage.resume_from is None:
            stage.run.events.write("search_space", stage=stage.index, dimension=space.dimension)
        else:
            for record in read_replay_log(log).records:
                if record["stage"] == stage.index:
                    _tell(search, search.ask(), np.array(record["rewards"]))
        names, current = list(space.parts), self._write(stage.policy, space, search)
        before = fingerprint(current)
        size = sum(tensor.numel() * tensor.element_size() for tensor in served.values())
        while not stage.exhausted():
            with stage.run.meters.clock("train"), torch.no_grad():
                candidates = search.ask()
                generation = evaluate_members(
                    stage,
                    objective,
                    lambda group, found=candidates: _members(space, [found[n] for n in group], served),  # type: ignore[misc]
                    self.population,
                    size,
                    names,
                )
                sigma = float(search.sigma)
                _tell(search, candidates, generation.scores)
                last, current = current, self._write(stage.policy, space, search)
                after = fingerprint(current)
                append_replay(
                    log,
                    {
                        "stage": stage.index,
                        "iteration": stage.step,
                        "sigma": sigma,
                        "items": [item.id for item in generation.items],
                        "rewards": generation.scores.tolist(),
                        "before": before,
                        "after": after,
                    },
                )
                before = after
                moved = sum(float((current[name] - last[name]).double().square().sum()) for name in names)
                values = {"update_norm": moved**0.5, "step_size": float(search.sigma)}
                done = stage.after_step(generation.values() | values)
            if done:
                break
            if stage.checkpoint_due():
                with stage.run.meters.clock("overhead"):
                    folder = stage.folder / f"checkpoint-{stage.step}"
                    folder.mkdir(parents=True, exist_ok=True)
                    stage.mark(folder)

    def replay(self, policy: Policy, seed: int, records: Sequence[dict[str, Any]]) -> Iterator[tuple[int, str]]:
        """Tell recorded rewards again; yields iteration and fingerprint after each."""
        from harness.replay_log import fingerprint

        space = SingularValues(policy.tensors(), self.fraction)
        search = self._search(space, seed)
        for record in records:
            _tell(search, search.ask(), np.array(record["rewards"]))
            yield record["iteration"], fingerprint(self._write(policy, space, search))

    def _search(self, space: SingularValues, seed: int) -> Any:
        import cma

        draws = np.random.Generator(np.random.Philox(key=seed))
        options = {
            "popsize": self.population,
            "randn": lambda *shape: draws.standard_normal(shape),
            "seed": np.nan,  # its own seeding would touch NumPy's global stream
            "verbose": -9,
        }
        return cma.CMAEvolutionStrategy(np.zeros(space.dimension), self.sigma, options)

    def _write(self, policy: Policy, space: SingularValues, search: Any) -> dict[str, torch.Tensor]:
        """Set the policy to the distribution's mean and return its matrices; untouched before the first step."""
        import torch

        mean = np.asarray(search.mean)
        tensors = policy.tensors()
        if not mean.any():
            return {name: tensors[name].detach().float().clone() for name in space.parts}
        found = dict(space.at(mean))
        with torch.no_grad():
            for name, matrix in found.items():
                tensors[name].copy_(matrix)
        return found

    def describe(self) -> dict[str, Any]:
        return {
            "sigma": self.sigma,
            "population": self.population,
            "fraction": self.fraction,
            "searches": "singular values",
        }


def _members(space: SingularValues, candidates: list[np.ndarray], served: Mapping[str, torch.Tensor]) -> Any:
    import torch

    found = [dict(space.at(candidate)) for candidate in candidates]
    return {name: torch.stack([one[name] for one in found]).to(served[name]) for name in space.parts}


def _tell(search: Any, candidates: list[np.ndarray], scores: np.ndarray) -> None:
    """Rewards to be raised, as CMA-ES wants numbers to be lowered."""
    if coefficients(scores, "centred").any():
        search.tell(candidates, list(-scores.mean(axis=1)))


def singular_value_search(sigma: float, population: int, fraction: float = 1.0) -> SingularValueSearch:
    """CMA-ES of `population` on the largest `fraction` of singular values."""
    return SingularValueSearch(sigma, population, fraction)
