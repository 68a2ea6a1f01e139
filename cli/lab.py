"""`beyondrl lab build`: train a lab model from its recipe; `lab list` shows the recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json
from cli.output import console, show
from harness.errors import unknown

lab = typer.Typer(help="The lab models and their recipes.", no_args_is_help=True)


@lab.command("build")
def build_model(
    name: Annotated[str, typer.Argument(help="A recipe (beyondrl lab list).")] = "lab",
    out: Annotated[Path | None, typer.Option("--out", help="Directory of the model; default: lab-NAME.")] = None,
) -> None:
    """Train a lab model from its recipe and seed; takes minutes to hours on a CPU."""
    from harness.lab.recipe import RECIPES

    if name not in RECIPES:
        raise unknown("lab recipe", name, RECIPES, "beyondrl lab list")
    from cli.places import require_writable
    from harness.lab.build import build
    from harness.lab.card import write_card

    directory = out if out is not None else Path(f"lab-{name}")
    require_writable(directory, "--out")
    terminal = console()

    def log(line: str) -> None:
        terminal.print(line, markup=False, highlight=False)

    build(RECIPES[name], directory, log)
    write_card(RECIPES[name], directory, log)
    terminal.print(f"Built {name} in {directory}; use it as --model {directory}.", highlight=False, soft_wrap=True)


@lab.command("list")
def list_recipes(json: Json = False) -> None:
    """Show the recipes."""
    from harness.lab.recipe import RECIPES

    columns = ("name", "layers", "hidden_size", "tokens", "seed")
    rows = [{**r.model_dump(), "tokens": sum(phase.tokens for phase in r.phases)} for r in RECIPES.values()]
    show(rows, json, columns)
