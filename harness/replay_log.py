"""The replay log of a search without gradients: one JSON line an iteration, from which its weights can be rebuilt.

A line holds what the update was made of (iteration, item ids, every reward, coefficients, sigma, alpha) and the
fingerprints of the float32 master before and after it; the noise follows from the run's seed and the names of the
tensors (`harness.noise`). Lines are appended by one write; a torn last line is found by `read_replay_log`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.errors import Damaged


@dataclass(frozen=True)
class ReplayLog:
    """Every whole line of a log, and whether it ends in the middle of another."""

    records: list[dict[str, Any]]
    torn: bool


def read_replay_log(path: Path) -> ReplayLog:
    """The log at `path`; an absent one is empty."""
    if not path.exists():
        return ReplayLog([], False)
    *lines, rest = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except ValueError:
            raise Damaged(path, f"line {number} is no record") from None
    return ReplayLog(records, bool(rest))


def append_replay(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line. Numbers are written so that they read back as the same float64."""
    line = json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def keep_replay(path: Path, stage: int, iterations: int) -> None:
    """Cut off what came after the first `iterations` of `stage`: a run resumes from before it."""
    if not path.exists():
        return
    kept = [
        record
        for record in read_replay_log(path).records
        if record["stage"] < stage or (record["stage"] == stage and record["iteration"] < iterations)
    ]
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(record, separators=(",", ":")) + "\n" for record in kept))
    os.replace(temporary, path)


def fingerprint(tensors: Mapping[str, torch.Tensor]) -> str:
    """16 hexadecimal digits over names, shapes and bits of float32 tensors; a change of any one entry changes them.

    Each tensor's bits are summed with odd weights modulo 2^64 on the device where they are: a digest at every
    iteration has to be cheap beside the update itself. It finds slips, not forgeries.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        bits = tensors[name].detach().float().contiguous().view(torch.int32).flatten()
        total = 0
        for first in range(0, len(bits), 1 << 22):
            part = bits[first : first + (1 << 22)].to(torch.int64)
            weights = torch.arange(first, first + len(part), device=part.device) * 2 + 1
            total += int((part * weights).sum())
        digest.update(f"{name} {tuple(tensors[name].shape)} {total % 2**64}\n".encode())
    return digest.hexdigest()[:16]
