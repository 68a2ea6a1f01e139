"""Random streams: one seed makes independent, named streams, so that what one part draws never shifts another.

Two methods at the same seed see the same data order and the same evaluation randomness, and can be paired. A stream
is a hash of (seed, names...), so neighbouring seeds are unrelated and 0 is a seed like any other.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def stream(seed: int, *names: str | int) -> int:
    """The 63-bit seed of the stream called `names` under `seed`: `stream(0, "sampling", 3)`."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU torch generator at the start of a stream."""
    import torch

    return torch.Generator().manual_seed(stream(seed, *names))
