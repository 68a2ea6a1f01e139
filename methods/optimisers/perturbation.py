"""What a population's members differ by: eps_n of every searched tensor, drawn by address (`harness.noise`).

gaussian: eps ~ N(0, I), i.i.d. over all tensors. tied: tensors of equal shape share one draw, as the published code of
arXiv 2509.24372 does (reproduction only: the update is then a sum over the tied tensors). low-rank (EGGROLL, arXiv
2511.16652, section 3): a matrix [out, in] gets E = A B^T / sqrt(rank), A [out, rank] and B [in, rank] i.i.d. normal,
entry variance 1, never built for an evaluation; what is no matrix gets full noise. With mirrored pairs, members 2k and
2k + 1 are +eps and -eps of one draw.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from harness.engines.layout import LowRank
from harness.engines.side_path import Members
from harness.noise import Noise

Kind = Literal["gaussian", "tied", "low-rank"]
NOISE_BYTES = 2**28  # noise kept from the evaluation for the update; more than this is drawn again


@dataclass
class Perturbation:
    """The noise of one search over tensors of the given shapes."""

    seed: int
    shapes: Mapping[str, torch.Size]
    population: int
    kind: Kind = "gaussian"
    rank: int = 1
    mirrored: bool = False
    iteration: int = 0
    _bank: dict[tuple[int, str], torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.noise = Noise(self.seed, {address for name in self.shapes for address in self._addresses(name)})
        self.pairs = 2 if self.mirrored else 1
        self.factors = self.population // self.pairs
        elements = sum(self._elements(name) for name in self.shapes)
        self._banked = elements * self.factors * 4 <= NOISE_BYTES

    def begin(self, iteration: int) -> None:
        """Forget the last iteration's noise."""
        self.iteration = iteration
        self._bank.clear()

    def is_low_rank(self, name: str) -> bool:
        """Whether the tensor's noise is a product of two thin matrices."""
        return self.kind == "low-rank" and len(self.shapes[name]) == 2

    def member_bytes(self, names: Sequence[str], dtype: torch.dtype) -> int:
        """Bytes that a member's own tensors take in a batch."""
        elements = (self._elements(n) / self.pairs if self.is_low_rank(n) else self._elements(n) for n in names)
        return math.ceil(sum(elements) * dtype.itemsize)

    def members(self, master: Mapping[str, torch.Tensor], sigma: float, group: Sequence[int], like: Mapping) -> Members:
        """theta + sigma * eps_n for the members of `group`, whole pairs or one member, in device and precision of
        `like`."""
        alone = -1.0 if self.mirrored and len(group) == 1 and group[0] % 2 else 1.0  # by itself it has no pair's sign
        own: Members = {}
        for name, tensor in master.items():
            if self.is_low_rank(name):
                ups, downs = zip(*(self.thin(f, name, tensor.device) for f in self._factors_of(group)), strict=True)
                up = torch.stack(ups) * (alone * sigma / math.sqrt(self.rank))
                own[name] = LowRank(
                    torch.stack(downs).transpose(1, 2).contiguous().to(like[name].dtype), up.to(like[name].dtype)
                )
                continue
            stacked = tensor.new_empty(len(group), *tensor.shape, dtype=like[name].dtype)
            for place, member in enumerate(group):
                eps = self.eps(member // self.pairs, name, tensor.device)
                stacked[place] = torch.add(tensor, eps, alpha=-sigma if self.mirrored and member % 2 else sigma)
            own[name] = stacked
        return own

    def total(
        self, coefficients: np.ndarray, names: Sequence[str], device: torch.device
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """sum_n c_n eps_n of each tensor in float32; exactly zero where the coefficients cancel."""
        weights = coefficients if not self.mirrored else coefficients[0::2] - coefficients[1::2]
        used = [(factor, float(weight)) for factor, weight in enumerate(weights) if weight != 0.0]
        for name in names:
            total = torch.zeros(self.shapes[name], device=device)
            if used and self.is_low_rank(name):
                ups, downs = zip(*(self.thin(factor, name, device) for factor, _ in used), strict=True)
                scaled = [up * (weight / math.sqrt(self.rank)) for up, (_, weight) in zip(ups, used, strict=True)]
                total = torch.cat(scaled, 1) @ torch.cat(downs, 1).T
            elif used:
                for factor, weight in used:
                    total.add_(self.eps(factor, name, device), alpha=weight)
            yield name, total

    def eps(self, factor: int, name: str, device: torch.device) -> torch.Tensor:
        """The full noise of one tensor, float32."""
        if self.is_low_rank(name):
            up, down = self.thin(factor, name, device)
            return up @ down.T / math.sqrt(self.rank)
        return self._drawn(factor, self._addresses(name)[0], self.shapes[name], device)

    def thin(self, factor: int, name: str, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """A [out, rank] and B [in, rank] of one matrix."""
        up, down = self._addresses(name)
        rows, columns = self.shapes[name]
        return (
            self._drawn(factor, up, (rows, self.rank), device),
            self._drawn(factor, down, (columns, self.rank), device),
        )

    def _drawn(self, factor: int, address: str, shape: Sequence[int], device: torch.device) -> torch.Tensor:
        there = self._bank.get((factor, address))
        if there is None:
            there = self.noise.normal(self.iteration, factor, address, shape, device=device)
            if self._banked:
                self._bank[factor, address] = there
        return there

    def _addresses(self, name: str) -> tuple[str, ...]:
        if self.is_low_rank(name):
            return f"{name}/A", f"{name}/B"
        return (f"shape {tuple(self.shapes[name])}",) if self.kind == "tied" else (name,)

    def _factors_of(self, group: Sequence[int]) -> Sequence[int]:
        return list(dict.fromkeys(member // self.pairs for member in group))

    def _elements(self, name: str) -> int:
        shape = self.shapes[name]
        return self.rank * sum(shape) if self.is_low_rank(name) else shape.numel()
