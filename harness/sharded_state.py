"""ZeRO stage 1 (Rajbhandari et al. 2020, arXiv 1910.02054, section 5.1): the optimiser's state, spread over the
processes of a run.

Weights are whole in every process, and so are gradients but for stage 2 (`harness.sharded_gradients`). Each tensor
belongs to one process, which alone keeps its optimiser state, updates it, and sends the new weights to the others: the
very update that every process would have made alone. For a checkpoint, and for a next stage that goes on with the
state, it is put together again, so that a file says nothing of how many processes wrote it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from harness.ranks import Ranks


class ShardedState:
    """The state of a torch optimiser. Every process has the gradients of all its tensors, or at least of its own."""

    def __init__(self, optimiser: Any, ranks: Ranks) -> None:
        self._optimiser, self._ranks = optimiser, ranks
        self._groups = [list(group["params"]) for group in optimiser.param_groups]
        self._tensors = [tensor for group in self._groups for tensor in group]
        whose = owners([tensor.numel() for tensor in self._tensors], ranks.count)
        self._owners = {id(tensor): owner for tensor, owner in zip(self._tensors, whose, strict=True)}

    def owner(self, tensor: torch.Tensor) -> int:
        """The process that updates a tensor; the first for one that the optimiser does not move."""
        return self._owners.get(id(tensor), 0)

    def divide(self) -> None:
        """Let go of the state of what belongs to others; the optimiser updates this process's tensors alone."""
        mine = {one for one, owner in self._owners.items() if owner == self._ranks.rank}
        for group, tensors in zip(self._optimiser.param_groups, self._groups, strict=True):
            group["params"] = [tensor for tensor in tensors if id(tensor) in mine]
        for tensor in self._tensors:
            if id(tensor) not in mine:
                self._optimiser.state.pop(tensor, None)

    def spread(self) -> None:
        """After an update: every tensor as its owner has it, in all processes."""
        self._ranks.spread([tensor.data for tensor in self._tensors], [self.owner(one) for one in self._tensors])

    def put_together(self, everywhere: bool = False) -> None:
        """The whole optimiser in the first process, or in all; what was others' lies on the processor. All call it."""
        whole = everywhere or self._ranks.rank == 0
        for tensor in self._tensors:
            owner = self.owner(tensor)
            mine = owner == self._ranks.rank
            found = self._ranks.gather(_on_processor(self._optimiser.state.get(tensor)) if mine else None)[owner]
            if found is not None and whole and not mine:
                self._optimiser.state[tensor] = found
        if whole:
            for group, tensors in zip(self._optimiser.param_groups, self._groups, strict=True):
                group["params"] = list(tensors)


def owners(sizes: Sequence[int], count: int) -> list[int]:
    """Who of `count` gets each tensor, so that all get nearly as many elements: the largest first, to who has least."""
    held, found = [0] * count, [0] * len(sizes)
    for place in sorted(range(len(sizes)), key=lambda one: (-sizes[one], one)):
        found[place] = held.index(min(held))
        held[found[place]] += sizes[place]
    return found


def _on_processor(state: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if state is None else {name: _moved(value) for name, value in state.items()}


def _moved(value: Any) -> Any:
    return value.detach().cpu() if hasattr(value, "detach") else value
