"""Evolution strategies: theta <- theta + alpha / N * sum_n z_n eps_n, with eps_n ~ N(0, I) i.i.d. over all tensors.

Qiu et al. 2025 (arXiv 2509.24372, section 3): z_n is the z-scored fitness of member n (population std), 1/sigma is
absorbed in alpha, decoding is greedy, so that the only randomness is in the weights. Unlike the published code, the
noise of every tensor is its own (keyed by run, iteration, member and parameter name, drawn in float32 whatever the
device), the master weights are float32 and never mutated by an evaluation, and a generation whose members all score
the same moves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.contracts import FitnessObjective, Signal

if TYPE_CHECKING:
    import torch

    from harness.context import StageContext

Tensors = dict[str, "torch.Tensor"]
_ROUNDING = 1e-12  # relative to the largest fitness; float64 sums of a thousand rewards err by less


@dataclass(frozen=True)
class EvolutionStrategy:
    """Fitness optimiser over any parameterisation's tensors."""

    sigma: float
    alpha: float
    population: int
    name = "evolution"
    takes: Signal = "fitness"

    def fit(self, stage: StageContext, objective: FitnessObjective) -> None:
        """Generations until the budget is spent."""
        import torch

        master = {name: tensor.detach().float().clone() for name, tensor in stage.policy.tensors().items()}
        if stage.resume_from is not None:
            master = _load(stage.resume_from)
            _write_back(stage, master)
        while not stage.exhausted():
            with stage.run.meters.clock("train"), torch.no_grad():
                fitness, values = self._evaluate(stage, objective, master)
                update = self._update(stage, master, shaped(fitness))
                for name, tensor in master.items():
                    tensor.add_(update[name])
                _write_back(stage, master)
                values["update_norm"] = float(torch.sqrt(sum((u.double() ** 2).sum() for u in update.values())))
                done = stage.after_step(values)
            if done:
                break
            if stage.checkpoint_due():
                with stage.run.meters.clock("overhead"):
                    _save(stage, master)

    def _evaluate(
        self, stage: StageContext, objective: FitnessObjective, master: Tensors
    ) -> tuple[np.ndarray, dict[str, float]]:
        """Mean reward of every member on this iteration's items, in float64, and what to log of it."""
        from harness.engines.population import PopulationEngine

        items = objective.batch(stage, stage.step)
        prompts = [stage.task.prompt(item) for item in items]
        engine = PopulationEngine(stage.policy.model, stage.policy.tokenizer)
        size = engine.group_size(master, len(prompts))
        scores: list[list[float]] = []
        truncated = 0
        for first in range(0, self.population, size):
            group = range(first, min(first + size, self.population))
            members = self._members(stage, master, list(group))
            with stage.run.meters.clock("generate"):
                answers = engine.generate(members, len(group), prompts, stage.sampling(0.0), stage.seed("unused"))
                for completions in answers:
                    stage.charge_generation(completions)
            for completions in answers:
                truncated += sum(completion.truncated for completion in completions)
                scores.append([objective.score(stage, i, c.text) for i, c in zip(items, completions, strict=True)])
        fitness = np.array(scores, dtype=np.float64).mean(axis=1)
        return fitness, {
            "reward": float(fitness.mean()),
            "reward_std": float(fitness.std()),
            "reward_max": float(fitness.max()),
            "truncated": truncated / (self.population * len(items)),
        }

    def _members(self, stage: StageContext, master: Tensors, group: list[int]) -> Tensors:
        """theta + sigma * eps_n for the members of `group`, stacked: [members, *shape]."""
        import torch

        stacked = {}
        for name, tensor in master.items():
            out = torch.empty(len(group), *tensor.shape)
            for place, member in enumerate(group):
                torch.add(tensor.cpu(), noise(stage, member, name, tensor.shape), alpha=self.sigma, out=out[place])
            stacked[name] = out.to(stage.policy.model.device, dtype=stage.policy.model.dtype)
        return stacked

    def _update(self, stage: StageContext, master: Tensors, z: np.ndarray) -> Tensors:
        """alpha / N * sum_n z_n eps_n; exactly zero where every z is zero."""
        import torch

        update = {}
        for name, tensor in master.items():
            total = torch.zeros(tensor.shape)
            for member, weight in enumerate(z):
                if weight != 0.0:
                    total.add_(
                        noise(stage, member, name, tensor.shape), alpha=float(weight) * self.alpha / self.population
                    )
            update[name] = total.to(tensor.device)
        return update

    def describe(self) -> dict[str, Any]:
        return {"sigma": self.sigma, "alpha": self.alpha, "population": self.population, "noise": "i.i.d. Gaussian"}


def noise(stage: StageContext, member: int, name: str, shape: torch.Size) -> torch.Tensor:
    """eps of one tensor of one member in this iteration: the same on any device, in any order, at any time."""
    import torch

    from harness.streams import generator

    return torch.randn(shape, generator=generator(stage.seed("perturbation"), stage.step, member, name))


def shaped(fitness: np.ndarray) -> np.ndarray:
    """z-scores with the population's own standard deviation; all zero when every member scored the same.

    Equal rewards summed in another order differ by a rounding error, which must not be blown up to a z-score of 1.
    """
    if np.ptp(fitness) <= _ROUNDING * np.abs(fitness).max():
        return np.zeros_like(fitness)
    return (fitness - fitness.mean()) / fitness.std()


def _write_back(stage: StageContext, master: Tensors) -> None:
    import torch

    with torch.no_grad():
        for name, tensor in stage.policy.tensors().items():
            tensor.copy_(master[name])


def _save(stage: StageContext, master: Tensors) -> None:
    from safetensors.torch import save_file

    folder = stage.folder / f"checkpoint-{stage.step}"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.cpu().contiguous() for name, tensor in master.items()}, folder / "master.safetensors")
    stage.mark(folder)


def _load(folder: Path) -> Tensors:
    from safetensors.torch import load_file

    return dict(load_file(folder / "master.safetensors"))


def evolution(sigma: float, alpha: float, population: int) -> EvolutionStrategy:
    """Gaussian ES with z-scored fitness: `alpha` is the learning rate with 1/sigma absorbed."""
    return EvolutionStrategy(sigma, alpha, population)
