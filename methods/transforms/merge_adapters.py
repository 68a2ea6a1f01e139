"""Merging adapters at the level of their updates, never of their factors.

Averaging A and B apart has cross terms and changes when a factor is turned (B R, R^-1 A), which leaves the update as it
is. Here sums are exact: up = [B_1 ... B_n], down = [w_1 s_1 A_1; ...; w_n s_n A_n], whatever the ranks, then squeezed
to a rank if one is asked for. Trimming, dropping and turning need the dense update of a module; what they make is cut
to a rank again and the loss is reported. (IA)^3's vectors are merged as 1 + update.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.adapters import adapter_config
from harness.errors import UserError
from harness.lora_files import LoraAdapter, LowRank
from methods.transforms.merge import Recipe, merged_update
from methods.transforms.squeeze import squeeze

if TYPE_CHECKING:
    import torch

_SUMS = ("soup", "task-arithmetic")


@dataclass(frozen=True)
class MergedAdapter:
    """The result, and the largest share of a module's squared norm that cutting it to its rank lost."""

    adapter: LoraAdapter
    lost: float


def merge_adapters(recipe: Recipe, adapters: Sequence[LoraAdapter], rank: int | None) -> MergedAdapter:
    """One adapter of several; UserError if they were made for different bases or a module has different shapes.

    `rank` None keeps an exact sum as it is (the ranks add up); for the other methods it is the largest rank given.
    """
    from harness.streams import generator

    _check_bases(adapters)
    modules, lost = {}, 0.0
    for name in sorted({name for adapter in adapters for name in adapter.modules}):
        parts = [adapter.modules.get(name) for adapter in adapters]
        _check_shapes(name, [part for part in parts if part is not None])
        if recipe.method in _SUMS:
            whole = concatenated([part for part in parts if part is not None], _factors(recipe, parts))
            if rank is None or rank >= whole.rank:
                modules[name] = whole
                continue
            done = squeeze(whole, min(rank, whole.rank), scale="unit")
        else:
            dense = _dense(recipe, parts, generator(recipe.seed, name))
            done_rank = rank if rank is not None else max(part.rank for part in parts if part is not None)
            like = next(part for part in parts if part is not None)
            done = squeeze(_as_factors(dense, like), min(done_rank, *dense.shape))
        lost = max(lost, 1 - done.kept)
        modules[name] = done.module
    kept = {key: adapters[0].config.get(key) for key in ("base_model_name_or_path", "task_type", "fan_in_fan_out")}
    return MergedAdapter(LoraAdapter(modules, kept), lost)


def concatenated(parts: Sequence[LowRank], factors: Sequence[float]) -> LowRank:
    """sum f_i s_i B_i A_i exactly: ranks add up, the scale is 1."""
    import torch

    up = torch.cat([part.up for part in parts], 1)
    scaled = [factor * part.scale * part.down.double() for part, factor in zip(parts, factors, strict=True)]
    down = torch.cat([one.to(part.down.dtype) for one, part in zip(scaled, parts, strict=True)])
    return LowRank(up, down, 1.0)


def _factors(recipe: Recipe, parts: Sequence[LowRank | None]) -> list[float]:
    """The factor of each adapter that has the module; one that has not updates it by zero."""
    whole = sum(recipe.weights) if recipe.method == "soup" else 1.0 / recipe.amount if recipe.amount else float("inf")
    return [weight / whole for weight, part in zip(recipe.weights, parts, strict=True) if part is not None]


def _dense(recipe: Recipe, parts: Sequence[LowRank | None], generator: torch.Generator) -> torch.Tensor:
    import torch

    there = next(part for part in parts if part is not None)
    zero = torch.zeros(there.up.shape[0], there.down.shape[1], dtype=torch.float64)
    return merged_update(recipe, [zero if part is None else part.dense() for part in parts], generator)


def _as_factors(dense: torch.Tensor, like: LowRank) -> LowRank:
    """A dense update as a LowRank of full rank: the identity times it, or it times the identity."""
    import torch

    outputs, inputs = dense.shape
    dense = dense.to(like.up.dtype)
    if outputs <= inputs:
        return LowRank(torch.eye(outputs, dtype=dense.dtype), dense, 1.0)
    return LowRank(dense, torch.eye(inputs, dtype=dense.dtype), 1.0)


def _check_bases(adapters: Sequence[LoraAdapter]) -> None:
    bases = sorted({str(adapter.base) for adapter in adapters if adapter.base})
    if len(bases) > 1:
        raise UserError(f"The adapters have different bases, {' and '.join(bases)}: their updates do not add up.")


def _check_shapes(name: str, parts: Sequence[LowRank]) -> None:
    shapes = sorted({(int(part.up.shape[0]), int(part.down.shape[1])) for part in parts})
    if len(shapes) > 1:
        shown = " and ".join(f"{outputs} x {inputs}" for outputs, inputs in shapes)
        raise UserError(f"Layer {name!r} is {shown} in these adapters: they were made for different bases.")


def merge_rescalings(recipe: Recipe, folders: Sequence[Path], out: Path) -> None:
    """(IA)^3 adapters: 1 + the merged update of every vector, written to `out`."""
    import shutil

    from safetensors.torch import load_file, save_file

    from harness.streams import generator

    configs = [adapter_config(folder) for folder in folders]
    bases = sorted({str(config.get("base_model_name_or_path")) for config in configs})
    if len(bases) > 1:
        raise UserError(f"The adapters have different bases, {' and '.join(bases)}: their updates do not add up.")
    tensors = [load_file(folder / "adapter_model.safetensors") for folder in folders]
    merged: dict[str, Any] = {}
    for key in sorted({key for one in tensors for key in one}):
        like = next(one[key] for one in tensors if key in one)
        updates = [one[key].float() - 1 if key in one else like.float() * 0 for one in tensors]
        merged[key] = (1 + merged_update(recipe, updates, generator(recipe.seed, key))).to(like.dtype)
    out.mkdir(parents=True, exist_ok=True)
    save_file(merged, out / "adapter_model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(folders[0] / "adapter_config.json", out / "adapter_config.json")
