"""Whether a run fits on a device, and which changes of a sweep file would make it fit where it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.contracts import Train
from sweeps.estimate.devices import Device
from sweeps.estimate.memory import WHOLE, Spread
from sweeps.estimate.shape import Shape
from sweeps.estimate.texts import Texts
from sweeps.estimate.work import Update, update_of

_GPUS = (2, 4, 8)  # that a run may be done by
Extents = tuple[Train, Shape, Update]
"""A training stage, what it moves and its batches."""


@dataclass(frozen=True)
class Fit:
    """A device, and what makes a run fit on it: nothing, changes of which each is enough, or none that was tried."""

    device: str
    bytes: float
    fits: bool
    remedies: tuple[str, ...] = ()


def fit(
    device: Device,
    room: float,
    stages: Sequence[Extents],
    texts: Texts,
    needs: Callable[..., float],
    quantised: Callable[[], Shape | str],
    spread: Spread,
) -> Fit:
    """The stages on `device`, of which `room` bytes are theirs.

    `needs(stages, texts, accumulation=, checkpointing=, spread=)` is what they take under other settings, in bytes,
    `quantised` the shape of an adapter of a 4-bit base, `spread` over how many processes state and gradients lie.
    """

    def enough(other: Sequence[Extents] = stages, lengths: Texts = texts, **changes: Any) -> bool:
        return needs(other, lengths, **changes) <= room

    if enough():
        return Fit(device.name, device.bytes, True)
    found = tuple(_remedies(device.gpu, stages, texts, enough, quantised, spread))
    return Fit(device.name, device.bytes, False, found)


def _remedies(
    gpu: bool,
    stages: Sequence[Extents],
    texts: Texts,
    enough: Callable[..., bool],
    quantised: Callable[[], Shape | str],
    spread: Spread,
) -> list[str]:
    """Changes of a sweep file, each of which makes the run fit."""
    found: list[str] = []
    rows = max((update.rows for _, _, update in stages), default=0)
    parts = [2**n for n in range(1, 12) if 2**n <= rows]
    learnt = next((n for n in parts if enough(accumulation=n)), None)
    if learnt is not None:
        found.append(f"training accumulation: {learnt}")
    if rows and enough(checkpointing=True):
        found.append("training gradient_checkpointing: true")
    elif rows:
        both = next((n for n in parts if enough(accumulation=n, checkpointing=True)), None)
        if both is not None and learnt is None:
            found.append(f"training gradient_checkpointing: true with accumulation: {both}")
    halves = [texts.longest // 2**n for n in range(1, 8) if texts.longest // 2**n >= 8]
    short = next((one for one in halves if enough(_again(stages, texts.shorter(one)))), None)
    if short is not None:
        found.append(f"evaluation max_new_tokens: {short}")
    by_gradient = bool(stages) and all(stage.optimiser.takes == "gradient" for stage, _, _ in stages)
    if gpu and by_gradient:
        wider = [(1, n) for n in _GPUS] if spread == WHOLE else []
        wider += [(2, n) for n in (_GPUS if spread == WHOLE else (spread.state,)) if spread.gradients == 1]
        over = next(((stage, n) for stage, n in wider if enough(spread=Spread.of(n, stage))), None)
        if over is not None:
            found.append("resources zero_stage: {} with gpus: {}".format(*over))
    if gpu and by_gradient:
        shape = quantised()
        put = [] if isinstance(shape, str) else _again([(stage, shape, update) for stage, _, update in stages], texts)
        most = parts[-1] if parts else 1
        if put and enough(put):
            found.append("qlora")
        elif put and enough(put, accumulation=most, checkpointing=True):
            found.append(f"qlora with training gradient_checkpointing: true and accumulation: {most}")
    return found


def _again(stages: Sequence[Extents], texts: Texts) -> list[Extents]:
    """The stages with texts of other lengths."""
    return [(stage, shape, update_of(stage, shape, texts, one.size) or one) for stage, shape, one in stages]
