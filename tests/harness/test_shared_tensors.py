"""Tensors for other processes: they come over whole, and nobody sees what a reader writes."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
import torch

from harness.engines.shared_tensors import SharedTensors, given

NAMED = [
    ("matrix", torch.arange(12, dtype=torch.float32).view(3, 4).t()),
    ("short", torch.tensor([1.5, -2.0, 3.25], dtype=torch.bfloat16)),
    ("scalar", torch.tensor(7)),
    ("nothing", torch.empty(0, 4)),
]


def same(found: list[tuple[str, torch.Tensor]]) -> bool:
    pairs = zip(found, NAMED, strict=True)
    return all(a == b and one.dtype == other.dtype and torch.equal(one, other) for (a, one), (b, other) in pairs)


def read_and_write(shared: SharedTensors) -> None:
    found = shared.read()
    right = same(found)
    found[0][1].zero_()
    os._exit(0 if right else 1)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_another_process_reads_them(method: str) -> None:
    with given(NAMED) as shared:
        reader = multiprocessing.get_context(method).Process(target=read_and_write, args=(shared,))
        reader.start()
        reader.join()
        assert reader.exitcode == 0 and same(shared.read())


def test_nothing_is_left_of_them() -> None:
    with given(NAMED) as shared:
        kept = shared.read()
        assert Path(shared.place).exists()
    assert same(kept) and not Path(shared.place).exists()
