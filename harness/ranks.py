"""The processes that do one run together, as each of them sees the others: data parallelism without a second code path.

Every process goes through the whole run with the same seeds, and so takes the same decisions. What costs is dealt out:
an update's micro-batches, prompts to answer, members of a population; what came of it is put together in all of them.
What only one of them knows (a clock, a file that somebody made) is asked of the first. Sums are made in the order of
the ranks or by one reduction for all, so that all hold the same bits; a run ends with their weights compared.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

T = TypeVar("T")
_BUCKET = 2**25  # elements that are reduced at once: what a reduction needs beside the tensors


class PeerLost(RuntimeError):
    """Another process of this run has ended, so nothing can be put together any more."""


class Ranks:
    """Process `rank` of `count`. Alone, everything is its own and nothing is sent.

    The groups are of this object alone and never torch.distributed's own: libraries that find that one shard and save
    by their own rules.
    """

    def __init__(self, rank: int = 0, count: int = 1, objects: Any = None, tensors: Any = None) -> None:
        """`objects` is a group for what lies on the processor, `tensors` one for what lies on the run's devices."""
        self.rank, self.count = rank, count
        self._objects, self._tensors = objects, tensors

    def share(self, count: int) -> range:
        """This process's places of `count`: neighbours, and nearly as many as everybody's."""
        return range(count * self.rank // self.count, count * (self.rank + 1) // self.count)

    def deal(self, count: int, work: Callable[[range], list[T]]) -> list[T]:
        """What `work` makes of places 0 to `count` - 1, one entry a place; each process works on its share."""
        mine = self.share(count)
        return [one for part in self.gather(work(mine) if mine else []) for one in part]

    def gather(self, mine: T) -> list[T]:
        """Everybody's, in the order of the ranks."""
        if self.count == 1:
            return [mine]
        import torch

        own = torch.frombuffer(bytearray(pickle.dumps(mine)), dtype=torch.uint8)
        sizes = [int(size) for size in self._all(torch.tensor([len(own)]))]
        padded = torch.zeros(max(sizes), dtype=torch.uint8)
        padded[: len(own)] = own
        parts = zip(self._all(padded), sizes, strict=True)
        # What comes was pickled by another process of this same run, as between any two processes of Python.
        return [pickle.loads(part[:size].numpy().tobytes()) for part, size in parts]  # noqa: S301

    def _all(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Everybody's tensor of the same shape."""
        import torch

        found = [torch.empty_like(tensor) for _ in range(self.count)]
        with _peers():
            self._objects.allgather([found], [tensor]).wait()
        return found

    def first(self, value: T) -> T:
        """The first process's."""
        return self.gather(value)[0]

    def agree(self, what: str, value: object) -> None:
        """RuntimeError if the processes hold different values of what must be the same."""
        if len(set(self.gather(value))) > 1:
            raise RuntimeError(f"the processes of this run disagree about the {what}: it cannot be trusted")

    def add(self, tensors: Iterable[torch.Tensor]) -> None:
        """Make every tensor the sum of everybody's, in place."""
        if self.count == 1:
            return
        import torch

        for bucket in buckets(list(tensors)):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            with _peers():
                self._tensors.allreduce([flat]).wait()
            _fill(bucket, flat)

    def add_in(self, tensor: torch.Tensor, owner: int) -> None:
        """Make a tensor the sum of everybody's in the process `owner`, in place; the others' is not worth anything."""
        with _peers():
            self._tensors.reduce(tensor, owner).wait()

    def spread(self, tensors: Sequence[torch.Tensor], owners: Sequence[int]) -> None:
        """Make every tensor what it is in the process that owns it, in place."""
        if self.count == 1:
            return
        import torch

        for owner in range(self.count):
            own = [tensor for tensor, whose in zip(tensors, owners, strict=True) if whose == owner]
            for bucket in buckets(own):
                flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
                with _peers():
                    self._tensors.broadcast(flat, owner).wait()
                if owner != self.rank:
                    _fill(bucket, flat)


ALONE = Ranks()


def buckets(
    tensors: Sequence[torch.Tensor], owner: Callable[[torch.Tensor], int] = lambda tensor: 0
) -> Iterator[list[torch.Tensor]]:
    """Neighbours of one type, device and owner, not too many elements at a time."""
    bucket: list[torch.Tensor] = []
    for tensor in tensors:
        alike = not bucket or _kind(bucket[0], owner) == _kind(tensor, owner)
        if bucket and (not alike or sum(one.numel() for one in bucket) + tensor.numel() > _BUCKET):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def _kind(tensor: torch.Tensor, owner: Callable[[torch.Tensor], int]) -> tuple[Any, Any, int]:
    return tensor.dtype, tensor.device, owner(tensor)


def _fill(bucket: list[torch.Tensor], flat: torch.Tensor) -> None:
    for tensor, part in zip(bucket, flat.split([one.numel() for one in bucket]), strict=True):
        tensor.copy_(part.view_as(tensor))


@contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise PeerLost(f"another process of this run is gone ({str(error).splitlines()[0]})") from error
