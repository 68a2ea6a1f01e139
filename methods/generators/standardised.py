"""A library's factors in the shape that a hypernetwork predicts, standardised entry by entry over the library.

z = (x - mean) / (std + 1e-10) for every entry of A and B, mean and population std over the library's adapters
(Charakorn et al. 2025, arXiv 2506.06105, appendix); an entry that is the same in all of them has z = 0. The network
remembers mean and std, so that what it writes is x again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from harness.errors import UserError

if TYPE_CHECKING:
    from harness.lora_files import LoraAdapter
    from methods.generators.text_to_lora import Factors, TextToLora

_TINY = 1e-10


def standardise(network: TextToLora, adapters: Sequence[LoraAdapter]) -> list[Factors]:
    """Sets the network's means and deviations, and gives the standardised factors [adapters, layers, rank, size] of
    every kind. UserError for an adapter of other layers or of another rank."""
    wanted = {name for kind in network.kinds for name in kind.modules}
    for number, adapter in enumerate(adapters, 1):
        ranks = {module.rank for module in adapter.modules.values()}
        if set(adapter.modules) != wanted or ranks != {network.settings.rank}:
            there = sorted({name.rpartition(".")[2] for name in adapter.modules})
            raise UserError(
                f"Adapter {number} of the library has rank {'/'.join(map(str, sorted(ranks)))} on {', '.join(there)}: "
                f"give the generator the same rank and targets, or train the library with its (rank "
                f"{network.settings.rank})."
            )
    found = []
    for number, kind in enumerate(network.kinds):
        down = [torch.stack([one.modules[name].down.float() for name in kind.modules]) for one in adapters]
        up = [
            torch.stack([_scaled(one, name, network.scale).T for name in kind.modules]).contiguous() for one in adapters
        ]
        found.append((_own(network, f"a_{number}", down), _own(network, f"b_{number}", up)))
    return found


def _scaled(adapter: LoraAdapter, name: str, scale: float) -> torch.Tensor:
    """B [outputs, rank] as it is under the network's own scale."""
    return adapter.modules[name].up.float() * (adapter.modules[name].scale / scale)


def _own(network: TextToLora, name: str, factors: list[torch.Tensor]) -> torch.Tensor:
    """One factor of a kind over the library, standardised."""
    stack = torch.stack(factors)
    mean, std = stack.mean(0), stack.std(0, correction=0) + _TINY
    network.get_buffer(f"mean_{name}").copy_(mean)
    network.get_buffer(f"std_{name}").copy_(std)
    return (stack - mean) / std
