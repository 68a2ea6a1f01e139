"""ZeRO stage 2 (Rajbhandari et al. 2020, arXiv 1910.02054, section 5.2): gradients too, spread over the processes of a
run. It is what FSDP calls SHARD_GRAD_OP.

In the backward pass the gradients of a bucket of tensors are added up in the process that the tensors belong to
(`harness.sharded_state`) as soon as all of them are there, and let go of everywhere else. All processes do this in
step: buckets in one order, in as many rounds as the process with most micro-batches has. Who has no micro-batch left,
or has run out of memory, adds nothing. The order is that of the tensors, backwards, and from the second update on that
in which the first process had their gradients: a tensor that never has one must not hold up the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from harness.ranks import buckets

if TYPE_CHECKING:
    from harness.ranks import Ranks


class ShardedGradients:
    """The gradients of `tensors`, each whole in its owner alone once an update's rounds are done."""

    def __init__(
        self, tensors: Iterable[torch.nn.Parameter], owner: Callable[[torch.Tensor], int], ranks: Ranks
    ) -> None:
        """`tensors` in about the order in which a forward pass comes to them."""
        self._ranks, self._owner = ranks, owner
        self._tensors = list(tensors)
        self._place = {id(tensor): place for place, tensor in enumerate(self._tensors)}
        self._arrange(range(len(self._tensors))[::-1])
        self._learnt = False
        self._sums: dict[int, torch.Tensor] = {}
        self._had: dict[int, None] = {}
        self._given: list[int] = []
        self._rounds = self._next = 0
        self._missing: list[int] = []
        self._hooks = [tensor.register_post_accumulate_grad_hook(self._arrived) for tensor in self._tensors]

    def begin(self, rounds: int) -> None:
        """An update of so many rounds begins."""
        self._sums, self._had, self._rounds = {}, {}, rounds
        self._begin_round()

    def end_round(self) -> None:
        """This process's micro-batch is computed, or it has none: what was not reached has no gradient."""
        for bucket in self._buckets[self._next :]:
            self._add(bucket)
        self._rounds -= 1
        if any(tensor.grad is not None for tensor in self._tensors):
            raise RuntimeError("a tensor was given a gradient twice in one backward pass: it cannot be spread")
        self._begin_round()

    def finish(self) -> None:
        """Do what rounds are left without a micro-batch."""
        while self._rounds:
            self.end_round()

    def hand_out(self) -> None:
        """Give the owners their sums; who got no gradient from anybody has none."""
        dealt = self._ranks.gather(list(self._had))
        had = set().union(*dealt)
        self._given = sorted(had)
        if not self._learnt:
            self._arrange([*dealt[0], *(place for place in range(len(self._tensors))[::-1] if place not in dealt[0])])
            self._learnt = True
        for place, tensor in enumerate(self._tensors):
            own = self._owner(tensor) == self._ranks.rank
            tensor.grad = self._sums[id(tensor)] if own and place in had else None
        self._sums = {}

    def whole(self) -> None:
        """The sums in all processes, for what looks at gradients between the backward pass and the update."""
        given = [self._tensors[place] for place in self._given]
        for tensor in given:
            tensor.grad = torch.empty_like(tensor) if tensor.grad is None else tensor.grad
        self._ranks.spread([tensor.grad for tensor in given], [self._owner(tensor) for tensor in given])  # type: ignore[misc]

    def clip(self, parameters: Iterable[torch.Tensor], max_norm: float, norm_type: float = 2.0) -> torch.Tensor:
        """`torch.nn.utils.clip_grad_norm_` of the whole gradient, in place where it lies; returns its norm."""
        asked = list(parameters)
        mine = {
            place: torch.linalg.vector_norm(one.grad, norm_type).cpu()
            for place, one in enumerate(asked)
            if one.grad is not None
        }
        every = {place: norm for norms in self._ranks.gather(mine) for place, norm in norms.items()}
        device = asked[0].device
        norms = [every[place].to(device) for place in sorted(every)] or [torch.zeros((), device=device)]
        total = torch.linalg.vector_norm(torch.stack(norms), norm_type)
        torch.nn.utils.clip_grads_with_norm_([asked[place] for place in mine], max_norm, total)
        return total

    def close(self) -> None:
        """Leave the tensors as any others."""
        for hook in self._hooks:
            hook.remove()

    def _arrange(self, order: Sequence[int]) -> None:
        """The buckets, by the places of their tensors."""
        self._buckets = list(buckets([self._tensors[place] for place in order], self._owner))
        self._bucket = {id(tensor): number for number, bucket in enumerate(self._buckets) for tensor in bucket}

    def _begin_round(self) -> None:
        self._next, self._missing = 0, [len(bucket) for bucket in self._buckets]

    def _arrived(self, tensor: torch.Tensor) -> None:
        """The gradient of a tensor is there."""
        self._had[self._place[id(tensor)]] = None
        self._missing[self._bucket[id(tensor)]] -= 1
        while self._next < len(self._buckets) and not self._missing[self._next]:
            self._add(self._buckets[self._next])
            self._next += 1

    def _add(self, bucket: Sequence[Any]) -> None:
        """Add everybody's gradients of a bucket to what its owner has."""
        found = [torch.zeros_like(one) if one.grad is None else one.grad for one in bucket]
        flat = found[0].reshape(-1) if len(found) == 1 else torch.cat([one.reshape(-1) for one in found])
        owner = self._owner(bucket[0])
        self._ranks.add_in(flat, owner)
        for tensor, part in zip(bucket, flat.split([one.numel() for one in bucket]), strict=True):
            tensor.grad = None
            if owner == self._ranks.rank:
                part = part.view_as(tensor)
                before = self._sums.get(id(tensor))
                self._sums[id(tensor)] = part if before is None else before.add_(part)
