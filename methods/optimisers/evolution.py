"""Evolution strategies: theta <- theta + alpha / N * sum_n c_n eps_n, over any parameterisation's tensors.

Qiu et al. 2025 (arXiv 2509.24372, section 3): eps_n ~ N(0, I) over all tensors, c_n the z-scored fitness of member n
(population std), 1/sigma absorbed in alpha, greedy decoding, so that the only randomness is in the weights. Other
noise, shaping and conventions are parameters of the same loop: see the files beside this one.
Unlike the published code, the noise of every tensor is its own (`harness.noise`), the master weights are float32 and
never mutated by an evaluation, a generation whose members all score the same moves nothing, and every iteration can be
rebuilt from the start and `replay.jsonl`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.contracts import FitnessObjective, Signal
from harness.errors import UserError
from methods.optimisers.generation import Generation, evaluate_members
from methods.optimisers.shaping import Shaping, coefficients, shaped

if TYPE_CHECKING:
    import torch

    from harness.context import StageContext
    from harness.policy import Policy
    from methods.optimisers.perturbation import Kind, Perturbation

    Tensors = dict[str, torch.Tensor]

__all__ = ["EvolutionStrategy", "evolution", "noise", "shaped"]


@dataclass(frozen=True)
class EvolutionStrategy:
    """Fitness optimiser over any parameterisation's tensors."""

    sigma: float
    """Standard deviation of an entry's perturbation; with `probe`, where the search for it begins."""
    alpha: float
    """Learning rate with 1/sigma absorbed (`methods.optimisers.conventions` converts)."""
    population: int
    kind: Kind = "gaussian"
    rank: int = 1
    mirrored: bool = False
    """Antithetic pairs: members 2k and 2k + 1 are +eps and -eps of one draw."""
    shaping: Shaping = "z"
    anchor: float = 0.0
    """Anchored weight decay (arXiv 2605.30148): theta - theta_0 shrinks by 1 - alpha * anchor at every step."""
    alternate: tuple[str, ...] = ()
    """Iteration t searches only tensors with the (t mod length)-th of these in their names; empty is all, always."""
    probe: bool = False
    """Whether sigma is first moved until 20-80% of greedy answers change; alpha keeps its ratio to it."""
    name = "evolution"
    takes: Signal = "fitness"

    def __post_init__(self) -> None:
        if self.population % 2 and (self.mirrored or self.shaping == "pair-sign"):
            raise UserError(
                f"Mirrored pairs need an even population, not {self.population}: use {self.population + 1}."
            )
        if self.shaping == "pair-sign" and not self.mirrored:
            raise UserError("Shaping by pair-sign compares mirrored pairs: switch them on (mirrored), or use z.")
        if self.alpha * self.anchor > 1.0:
            raise UserError(f"alpha {self.alpha:g} times anchor {self.anchor:g} is above 1: the decay would overshoot.")

    def fit(self, stage: StageContext, objective: FitnessObjective) -> None:
        """Generations until the budget is spent."""
        import torch

        from harness.replay_log import append_replay, fingerprint, keep_replay
        from methods.optimisers.diagnostics import Walk

        master = _master(stage.policy)
        start = {name: tensor.clone() for name, tensor in master.items()} if self.anchor else {}
        walk, search, sigma = Walk(master), self.search(stage, master), self.sigma
        if stage.resume_from is not None:
            master, kept = _load(stage.resume_from, master)
            sigma, walk.expected = kept["sigma"], kept["expected"]
            _write_back(stage.policy, master)
        elif self.probe and not stage.exhausted():
            from methods.optimisers.sigma_probe import probed_sigma

            sigma = probed_sigma(self, stage, objective, master)
            if self.alpha * sigma / self.sigma * self.anchor > 1.0:
                raise UserError(
                    f"The probe found sigma {sigma:g}, with which alpha times anchor is above 1 and the decay would "
                    f"overshoot: lower anchor (now {self.anchor:g}) or alpha (now {self.alpha:g} at {self.sigma:g})."
                )
        keep_replay(stage.run.directory.replay, stage.index, stage.step)
        alpha, before = self.alpha * sigma / self.sigma, fingerprint(master)
        while not stage.exhausted():
            with stage.run.meters.clock("train"), torch.no_grad():
                search.begin(stage.step)
                names = self.searched(master, stage.step)
                generation = self._evaluate(stage, objective, search, master, names, sigma)
                weights = coefficients(generation.scores, self.shaping)
                update = self.advance(search, master, start, names, weights, alpha)
                _write_back(stage.policy, master)
                after = fingerprint(master)
                append_replay(
                    stage.run.directory.replay,
                    {
                        "stage": stage.index,
                        "iteration": stage.step,
                        "sigma": sigma,
                        "alpha": alpha,
                        "items": [item.id for item in generation.items],
                        "rewards": generation.scores.tolist(),
                        "coefficients": weights.tolist(),
                        "before": before,
                        "after": after,
                    },
                )
                before = after
                values = generation.values() | walk.values(master, update, names, weights, alpha, self.mirrored)
                values |= self._told(search, stage, master, names, generation, sigma)
                done = stage.after_step(values)
            if done:
                break
            if stage.checkpoint_due():
                with stage.run.meters.clock("overhead"):
                    _save(stage, master, {"sigma": sigma, "expected": walk.expected})

    def held_bytes(self, trainable: int) -> float:
        """Memory beside the served weights and the members: float32 master and update, and noise that is kept."""
        from methods.optimisers.perturbation import NOISE_BYTES

        own = trainable * 4.0
        noise = own * self.population / (2 if self.mirrored else 1)
        low_rank = self.kind == "low-rank"
        return 2 * own + (noise if noise <= NOISE_BYTES and not low_rank else 0.0)

    def search(self, stage: StageContext, master: Mapping[str, torch.Tensor]) -> Perturbation:
        """The noise of this stage."""
        return self.noise_of(stage.seed("perturbation"), master)

    def noise_of(self, seed: int, master: Mapping[str, torch.Tensor]) -> Perturbation:
        """The noise under the stage's seed of perturbations."""
        from methods.optimisers.perturbation import Perturbation

        shapes = {name: tensor.shape for name, tensor in master.items()}
        return Perturbation(seed, shapes, self.population, self.kind, self.rank, self.mirrored)

    def searched(self, master: Mapping[str, torch.Tensor], iteration: int) -> list[str]:
        """The tensors that this iteration searches; raises UserError if there is none."""
        if not self.alternate:
            return list(master)
        part = self.alternate[iteration % len(self.alternate)]
        found = [name for name in master if part in name]
        if not found:
            raise UserError(f"No searched tensor has {part!r} in its name: alternate between parts that there are.")
        return found

    def advance(
        self,
        search: Perturbation,
        master: Tensors,
        start: Mapping[str, torch.Tensor],
        names: list[str],
        weights: np.ndarray,
        alpha: float,
    ) -> Tensors:
        """Move the master by alpha / N * sum_n c_n eps_n, after its decay towards the start; returns what was added."""
        update = {}
        for name, total in search.total(weights, names, next(iter(master.values())).device):
            update[name] = total.mul_(alpha / self.population)
            if self.anchor:
                master[name].add_(start[name] - master[name], alpha=alpha * self.anchor)
            master[name].add_(update[name])
        return update

    def replay(self, policy: Policy, seed: int, records: Sequence[dict[str, Any]]) -> Iterator[tuple[int, str]]:
        """Apply recorded iterations to `policy`; yields iteration and fingerprint after each (nothing is evaluated)."""
        from harness.replay_log import fingerprint

        master = _master(policy)
        start = {name: tensor.clone() for name, tensor in master.items()} if self.anchor else {}
        search = self.noise_of(seed, master)
        for record in records:
            search.begin(record["iteration"])
            names = self.searched(master, record["iteration"])
            self.advance(search, master, start, names, np.array(record["coefficients"]), record["alpha"])
            _write_back(policy, master)
            yield record["iteration"], fingerprint(master)

    def _evaluate(
        self,
        stage: StageContext,
        objective: FitnessObjective,
        search: Perturbation,
        master: Tensors,
        names: list[str],
        sigma: float,
    ) -> Generation:
        served = stage.policy.tensors()
        searched = {name: master[name] for name in names}
        return evaluate_members(
            stage,
            objective,
            lambda group: search.members(searched, sigma, group, served),
            self.population,
            search.member_bytes(names, served[names[0]].dtype),
            names,
            search.pairs,
        )

    def _told(
        self,
        search: Perturbation,
        stage: StageContext,
        master: Tensors,
        names: list[str],
        generation: Generation,
        sigma: float,
    ) -> dict[str, float]:
        from methods.optimisers.diagnostics import pair_values, realised

        values = pair_values(generation.fitness) if self.mirrored else {}
        return values | realised(search, stage.policy.tensors(), master, names, sigma)

    def describe(self) -> dict[str, Any]:
        shown = {"gaussian": "i.i.d. Gaussian", "tied": "Gaussian, tied over equal shapes", "low-rank": "rank"}
        settings = {key: value for key, value in asdict(self).items() if key not in ("kind", "rank")}
        text = shown[self.kind] + (f" {self.rank}" if self.kind == "low-rank" else "")
        return settings | {"alternate": list(self.alternate), "noise": text}


def noise(stage: StageContext, member: int, name: str, shape: torch.Size) -> torch.Tensor:
    """eps of one tensor of one member in this iteration: the same on any device, in any order, at any time."""
    from harness.noise import Noise

    return Noise(stage.seed("perturbation"), [name]).normal(stage.step, member, name, shape)


def _master(policy: Policy) -> Tensors:
    return {name: tensor.detach().float().clone() for name, tensor in policy.tensors().items()}


def _write_back(policy: Policy, master: Tensors) -> None:
    import torch

    with torch.no_grad():
        for name, tensor in policy.tensors().items():
            tensor.copy_(master[name])


def _save(stage: StageContext, master: Tensors, kept: dict[str, float]) -> None:
    from safetensors.torch import save_file

    from harness.atomic import write_json

    folder = stage.folder / f"checkpoint-{stage.step}"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.cpu().contiguous() for name, tensor in master.items()}, folder / "master.safetensors")
    write_json(folder / "search.json", kept)
    stage.mark(folder)


def _load(folder: Path, like: Tensors) -> tuple[Tensors, dict[str, float]]:
    from safetensors.torch import load_file

    tensors = load_file(folder / "master.safetensors")
    kept = json.loads((folder / "search.json").read_text())
    return {name: tensors[name].to(like[name].device) for name in like}, kept


def evolution(sigma: float, alpha: float, population: int, **settings: Any) -> EvolutionStrategy:
    """ES with z-scored fitness and i.i.d. Gaussian noise unless `settings` (its fields) say otherwise."""
    return EvolutionStrategy(sigma, alpha, population, **settings)
