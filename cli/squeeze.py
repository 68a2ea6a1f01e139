"""`beyondrl squeeze ADAPTER`: a LoRA adapter from anywhere at a lower rank, optimal and without its base."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json
from cli.output import show
from cli.places import new_directory
from harness.errors import UserError


class Alpha(StrEnum):
    """The scale of the squeezed factors; the update is the same."""

    keep = "keep"
    unit = "unit"


def squeeze(
    adapter: Annotated[Path, typer.Argument(help="A PEFT LoRA directory.")],
    out: Annotated[Path, typer.Option("--out", help="New directory.")],
    rank: Annotated[int | None, typer.Option(min=1, help="Rank of every module.")] = None,
    energy: Annotated[float | None, typer.Option(help="Share of the squared norm to keep, above 0 to 1.")] = None,
    alpha: Annotated[Alpha, typer.Option(help="keep: alpha / rank as it was. unit: alpha = rank.")] = Alpha.keep,
    randomised: Annotated[bool, typer.Option("--randomised", help="The paper's randomised SVD.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the randomised SVD.")] = 0,
    json: Json = False,
) -> None:
    """Write the best low-rank form of a LoRA adapter's update; says what every kind of module lost."""
    if (rank is None) == (energy is None):
        raise UserError("Give --rank or --energy, one of the two: for example --rank 8, or --energy 0.95.")
    if energy is not None and not 0 < energy <= 1:
        raise UserError(f"--energy={energy} is not possible: it is a share, above 0 and at most 1.")
    from harness.lora_files import LoraAdapter
    from methods.transforms.squeeze import squeeze_adapter

    source = LoraAdapter.read(adapter)
    squeezed, lost = squeeze_adapter(source, rank, energy, alpha.value, seed if randomised else None)
    with new_directory(out) as folder:
        squeezed.write(folder)
    kinds: dict[str, list[str]] = {}
    for name in lost:
        kinds.setdefault(name.rpartition(".")[2], []).append(name)
    show(
        [
            {
                "module": kind,
                "layers": len(names),
                "rank before": _span([source.modules[name].rank for name in names]),
                "rank after": _span([lost[name].module.rank for name in names]),
                "kept %": round(100 * sum(lost[name].kept for name in names) / len(names), 2),
                "least kept %": round(100 * min(lost[name].kept for name in names), 2),
            }
            for kind, names in sorted(kinds.items())
        ],
        json,
    )


def _span(numbers: list[int]) -> str:
    return f"{min(numbers)}" if min(numbers) == max(numbers) else f"{min(numbers)}-{max(numbers)}"
