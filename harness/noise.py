"""Gaussian noise by address: what element i of a tensor's noise is follows from its key alone.

Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") under a 128-bit key of the run, with
the counter (block of elements, iteration, member, parameter name): keys differ by construction, and any part of a
tensor can be drawn on any device, in any order and of any precision, bit for bit alike. Each normal is the sum of two
independent normals of 2^16 equally likely values (one 16-bit half of a word each), so that no step of the way from
bits to numbers rounds differently anywhere: mean 0, variance 1, nothing beyond 6.1 standard deviations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache

import numpy as np
import torch

_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_ROUNDS = 10
_MASK = 0xFFFFFFFF
_NORMALS_A_BLOCK = 8  # four 64-bit words, two normals each
_CHUNK = 1 << 15  # words at a time: what is worked on stays in the cache


class Noise:
    """The noise of one search: `normal(iteration, member, name, shape)` for the parameter names it was made for."""

    def __init__(self, seed: int, names: Iterable[str]) -> None:
        """`seed` is a stream of the run (`harness.streams`); raises ValueError should two names share an address."""
        digest = hashlib.sha256(f"noise/{seed}".encode()).digest()
        self.key = (int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big"))
        self._bits = np.random.Philox(key=np.array(self.key, dtype=np.uint64))
        self._addresses = {name: _address(name) for name in names}
        if len(set(self._addresses.values())) != len(self._addresses):
            raise ValueError("two parameter names have the same address: their noise would be the same")

    def normal(
        self,
        iteration: int,
        member: int,
        name: str,
        shape: Iterable[int],
        start: int = 0,
        device: torch.device | str = "cpu",
    ) -> torch.Tensor:
        """Standard normal float32 numbers: elements `start`, `start` + 1, ... of the tensor `name`, in `shape`."""
        size = torch.Size(shape)
        counter = (start // _NORMALS_A_BLOCK, iteration, member, self._addresses[name])
        skip = start % _NORMALS_A_BLOCK
        words = -(-(size.numel() + skip) // 2)
        if torch.device(device).type == "cpu":
            flat = torch.from_numpy(_normals_numpy(self._bits, counter, words))
        else:
            flat = normals_torch(self.key, counter, words, torch.device(device))
        return flat[skip : skip + size.numel()].view(size)


def _address(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


@cache
def _half_normals() -> np.ndarray:
    """Normal quantiles of the middles of 2^16 equally likely cells, scaled to variance 1/2."""
    from scipy.special import ndtri

    quantiles = ndtri((np.arange(1 << 16) + 0.5) / (1 << 16))
    return np.asarray(quantiles / (quantiles.std() * np.sqrt(2.0)), dtype=np.float32)


def _normals_numpy(bits: np.random.Philox, counter: tuple[int, int, int, int], words: int) -> np.ndarray:
    # NumPy raises the counter before it computes a block, hence the one less (it borrows like one 256-bit number).
    before = (sum(part << (64 * place) for place, part in enumerate(counter)) - 1) % (1 << 256)
    state = bits.state
    state["state"]["counter"][:] = [before >> (64 * place) & (2**64 - 1) for place in range(4)]
    state["buffer_pos"] = 4  # nothing left of the block before
    bits.state = state
    table, out = _half_normals(), np.empty(2 * words, dtype=np.float32)
    for first in range(0, words, _CHUNK):
        count = min(_CHUNK, words - first)
        values = table.take(bits.random_raw(count).view(np.uint16).astype(np.intp))
        np.add(values[0::2], values[1::2], out=out[2 * first : 2 * (first + count)])
    return out


def normals_torch(
    key: tuple[int, int], counter: tuple[int, int, int, int], words: int, device: torch.device
) -> torch.Tensor:
    """The same numbers by integer arithmetic on any device, for accelerators: [2 * words] float32."""
    blocks = -(-words // 4)
    c0 = torch.arange(blocks, device=device, dtype=torch.int64) + counter[0]
    c1, c2, c3 = (torch.full_like(c0, _signed(part)) for part in counter[1:])
    k0, k1 = key
    for _ in range(_ROUNDS):
        high0, low0 = _product(c0, _MULTIPLIERS[0])
        high1, low1 = _product(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ _signed(k0), low1, high0 ^ c3 ^ _signed(k1), low0
        k0, k1 = (k0 + _WEYL[0]) & (2**64 - 1), (k1 + _WEYL[1]) & (2**64 - 1)
    bits = torch.stack([c0, c1, c2, c3], 1).flatten()[:words]
    halves = torch.stack([(bits >> shift) & 0xFFFF for shift in (0, 16, 32, 48)], 1).view(-1, 2)
    table = torch.from_numpy(_half_normals()).to(device)
    return table[halves[:, 0]] + table[halves[:, 1]]


def _product(values: torch.Tensor, constant: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The upper and lower 64 bits of a product of unsigned numbers, in signed tensors that wrap."""
    low, high = values & _MASK, (values >> 32) & _MASK
    constant_low, constant_high = constant & _MASK, constant >> 32
    cross0, cross1 = low * constant_high, high * constant_low
    carry = ((low * constant_low >> 32) & _MASK) + (cross0 & _MASK) + (cross1 & _MASK)
    upper = high * constant_high + ((cross0 >> 32) & _MASK) + ((cross1 >> 32) & _MASK) + (carry >> 32)
    return upper, values * _signed(constant)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
