"""Other values in a policy's trainable tensors for a while: those that its stage began with, as a reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch


@contextmanager
def put_in(tensors: Mapping[str, torch.nn.Parameter], values: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Inside, the `tensors` hold `values`; afterwards what they held before, to the bit."""
    held = {name: tensors[name].detach().clone() for name in values}
    try:
        with torch.no_grad():
            for name, value in values.items():
                tensors[name].copy_(value)
        yield
    finally:
        with torch.no_grad():
            for name, value in held.items():
                tensors[name].copy_(value)
