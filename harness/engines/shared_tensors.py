"""Named tensors in memory that other processes of this machine read in place: how vLLM's processes are given weights.

A `SharedTensors` is small and can be pickled; the bytes lie once in anonymous memory of the process that gives them,
never on a disk and under no name that a killed run could leave behind. They are there as long as the giver is inside
`given` and as a reader holds a tensor of them; what a reader writes into one is seen by nobody else.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

_ALIGNMENT = 64  # bytes


@dataclass(frozen=True)
class SharedTensors:
    """What a reader needs to find them."""

    place: str
    bytes: int
    entries: tuple[tuple[str, torch.dtype, tuple[int, ...], int], ...]
    """Name, type, shape and first byte of each tensor."""

    def read(self) -> list[tuple[str, torch.Tensor]]:
        """The tensors, on the processor."""
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            memory = mmap.mmap(descriptor, self.bytes, access=mmap.ACCESS_COPY)
        finally:
            os.close(descriptor)
        return _views(memory, self.entries)


@contextmanager
def given(named: Iterable[tuple[str, torch.Tensor]]) -> Iterator[SharedTensors]:
    """A copy of these tensors, from whatever device, to be read by others as long as this lasts."""
    tensors = list(named)
    entries, end = [], 0
    for name, tensor in tensors:
        entries.append((name, tensor.dtype, tuple(tensor.shape), end))
        end += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
    descriptor = os.memfd_create("beyondrl-tensors")
    try:
        shared = SharedTensors(f"/proc/{os.getpid()}/fd/{descriptor}", max(1, end), tuple(entries))
        os.ftruncate(descriptor, shared.bytes)
        memory = mmap.mmap(descriptor, shared.bytes)
        for (_, target), (_, tensor) in zip(_views(memory, shared.entries), tensors, strict=True):
            target.copy_(tensor)
        yield shared
    finally:
        os.close(descriptor)


def _views(
    memory: mmap.mmap, entries: Iterable[tuple[str, torch.dtype, tuple[int, ...], int]]
) -> list[tuple[str, torch.Tensor]]:
    """The tensors that lie in the memory; each keeps it."""
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    return [
        (name, whole[start : start + torch.Size(shape).numel() * dtype.itemsize].view(dtype).view(shape))
        for name, dtype, shape, start in entries
    ]
