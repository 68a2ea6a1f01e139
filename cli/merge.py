"""`beyondrl merge A B ...`: several models, or several adapters of one base, into one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import Json
from cli.output import show
from cli.places import new_directory
from harness.errors import UserError


class Convention(StrEnum):
    """How ties uses weights: as mergekit does, or as PEFT does."""

    weighted = "weighted"
    counted = "counted"


def merge(
    sources: Annotated[list[Path], typer.Argument(help="Model directories, or PEFT adapter directories of one base.")],
    out: Annotated[Path, typer.Option("--out", help="New directory.")],
    method: Annotated[str, typer.Option(help="soup, task-arithmetic, ties, dare, dare-ties, slerp.")] = "soup",
    base: Annotated[str | None, typer.Option(help="The models' common start (a model name or directory).")] = None,
    weights: Annotated[str | None, typer.Option(help="One a source, with commas; default: all 1.")] = None,
    density: Annotated[float, typer.Option(help="Share of entries that ties and dare keep.")] = 0.5,
    amount: Annotated[float, typer.Option(help="Factor on the merged update.")] = 1.0,
    t: Annotated[float, typer.Option(help="Where slerp stops: 0 is the first source, 1 the second.")] = 0.5,
    convention: Annotated[
        Convention, typer.Option(help="Weights in ties: mergekit's or PEFT's.")
    ] = Convention.weighted,
    rank: Annotated[int | None, typer.Option(min=1, help="Adapters: rank of the result; default: exact.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of what dare drops.")] = 0,
    json: Json = False,
) -> None:
    """Merge models or adapters; the update is summed in float32 and rounded once."""
    from harness.adapters import adapter_config, is_adapter
    from methods.transforms.merge import Recipe

    recipe = Recipe(
        _method(method), _weights(weights, len(sources)), density, amount, t, convention.value, seed
    )  # fmt: skip
    _check(recipe, sources)
    adapters = [is_adapter(source) for source in sources]
    if any(adapters) and not all(adapters):
        mixed = next(source for source, one in zip(sources, adapters, strict=True) if not one)
        raise UserError(f"{mixed} is no adapter, the others are: merge models with models, adapters with adapters.")
    if not all(adapters):
        _models(recipe, sources, base, out, json)
        return
    kinds = {str(adapter_config(source).get("peft_type")) for source in sources}
    if kinds == {"IA3"}:
        from methods.transforms.merge_adapters import merge_rescalings

        with new_directory(out) as folder:
            merge_rescalings(recipe, sources, folder)
        show([{"merged": len(sources), "as": "(IA)^3 vectors", "method": method, "out": str(out)}], json)
        return
    from harness.lora_files import LoraAdapter
    from methods.transforms.merge_adapters import merge_adapters

    done = merge_adapters(recipe, [LoraAdapter.read(source) for source in sources], rank)
    with new_directory(out) as folder:
        done.adapter.write(folder)
    ranks = [module.rank for module in done.adapter.modules.values()]
    row: dict[str, Any] = {
        "merged": len(sources), "as": "updates", "method": method, "rank": max(ranks),
        "most lost to the rank %": round(100 * done.lost, 4), "out": str(out),
    }  # fmt: skip
    show([row], json)


def _models(recipe: Any, sources: list[Path], base: str | None, out: Path, as_json: bool) -> None:
    from harness.models import load_model
    from methods.transforms.merge_models import merge_models

    if base is None and recipe.method not in ("soup", "slerp"):
        raise UserError(f"{recipe.method} adds updates to the models' common start: name it with --base.")
    start = load_model(base).path if base is not None else sources[0]
    with new_directory(out) as folder:
        report = merge_models(recipe, start, [load_model(str(source)).path for source in sources], folder)
    show(
        [
            {
                "merged": len(sources),
                "as": "models",
                "method": recipe.method,
                "entries moved": report.moved,
                "swallowed by rounding %": round(100 * report.share, 4),
                "out": str(out),
            }
        ],
        as_json,
    )


def _method(given: str) -> Any:
    from harness.errors import unknown
    from methods.transforms.merge import METHODS

    if given not in METHODS:
        raise unknown("way of merging", given, METHODS)
    return given


def _weights(given: str | None, count: int) -> tuple[float, ...]:
    if given is None:
        return (1.0,) * count
    try:
        weights = tuple(float(one) for one in given.split(","))
    except ValueError:
        raise UserError(f"--weights={given} is not possible: write numbers with commas, for example 0.7,0.3.") from None
    if len(weights) != count:
        raise UserError(f"--weights has {len(weights)} numbers for {count} sources: give one each.")
    return weights


def _check(recipe: Any, sources: list[Path]) -> None:
    if len(sources) < 2:
        raise UserError("A merge needs two sources or more.")
    if recipe.method == "slerp" and len(sources) != 2:
        raise UserError(f"slerp turns one model into another: it takes 2 sources, {len(sources)} were given.")
    if not 0 < recipe.density <= 1:
        raise UserError(f"--density={recipe.density} is not possible: it is a share, above 0 and at most 1.")
    if recipe.method == "soup" and sum(recipe.weights) == 0:
        raise UserError("The weights of a soup may not sum to zero.")
