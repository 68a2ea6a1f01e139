"""`beyondrl reproduce KEY`: a paper's experiment, in its own setting or as its twin for the lab, beside its figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import DATABASE, OUT, RUNS, Database, DryRun, Json, Out, Runs, Slots
from cli.output import console, show

if TYPE_CHECKING:
    from sweeps.recipe import Recipe


def reproduce(
    key: Annotated[str | None, typer.Argument(help="A recipe; without one, all of them are listed.")] = None,
    lab: Annotated[bool, typer.Option("--lab", help="The twin that runs on two cores.")] = False,
    model: Annotated[str | None, typer.Option("--model", help="One of the paper's models; default: the first.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Data that the paper's setting needs from you.")] = None,
    price: Annotated[str | None, typer.Option("--price", help="Of a device-hour: 2.50, or '2.50 EUR'.")] = None,
    dry_run: DryRun = False,
    runs: Runs = RUNS,
    database: Database = DATABASE,
    out: Out = OUT,
    slots: Slots = None,
    json: Json = False,
) -> None:
    """Plan and run a published experiment, and set what it reports beside what was measured."""
    from cli.plan import price_of
    from cli.sweep import Places, carry_out
    from cli.sweep_files import shipped_recipes
    from harness.errors import UserError, unknown
    from sweeps.recipe import differences, read_recipe

    recipes = shipped_recipes()
    if key is None:
        show([_listed(read_recipe(path)) for path in recipes.values()], json, narrow=("recipe", "experiment"))
        return
    if key not in recipes:
        raise unknown("recipe", key, recipes, "beyondrl reproduce")
    if lab and model is not None:
        raise UserError("The twin for the lab has the lab's model: --lab or --model, not both.")
    if lab and data is not None:
        raise UserError("The twin for the lab makes its own data: --lab or --data, not both.")
    recipe = read_recipe(recipes[key])
    paper, _ = recipe.paper(model, data)
    parsed, document = recipe.lab() if lab else (paper, recipe.document.part("sweep"))
    if price is not None:
        parsed = parsed.model_copy(update={"price": price_of(price)})
    changed = differences(paper, parsed) if lab else []
    if not json:
        _say(f"{recipe.header.paper}: {recipe.header.experiment}")
        _say(f"device: {'two cores' if lab else recipe.header.device}")
        for deviation in recipe.header.deviations:
            _say(f"deviates: {deviation}")
        if changed:
            _say(f"the lab differs in: {'; '.join(changed)}")
    needs = recipe.header.needs
    if needs is not None and data is None and not lab:
        raise UserError(
            f"The paper's setting of {key} needs {needs.what}: beyondrl reproduce {key} --data PATH, or --lab for the "
            "twin that needs none."
        )
    given = {"--model": model, "--data": data}
    words = ["reproduce", key, *(["--lab"] if lab else [])]
    words += [word for option, value in given.items() if value is not None for word in (option, value)]

    def compare() -> None:
        show(_rows(recipe, paper.model, parsed.name, paper.task.name, database, lab), False)

    carry_out(parsed, document, words, Places(runs, database, out), slots, dry_run, json, compare)


def _rows(recipe: Recipe, model: str, sweep: str, task: str, database: Path, is_lab: bool) -> list[dict[str, object]]:
    from reports.reproduction import Expected, reproduction

    header = recipe.header
    expected = [
        Expected(
            arm=arm,
            paper=header.paper,
            where=figure.where,
            model=header.models[model],
            task=figure.task or task,
            method=figure.method,
            metric=figure.metric,
            differs="the lab's setting is another" if is_lab else figure.differs,
        )
        for arm, figure in header.reported.items()
    ]
    return reproduction(database, sweep, expected)


def _listed(recipe: Recipe) -> dict[str, str | None]:
    header = recipe.header
    return {
        "recipe": recipe.key,
        "paper": header.paper,
        "experiment": header.experiment,
        "models": ", ".join(header.models),
        "needs": header.needs.what if header.needs is not None else None,
        "device": header.device,
    }


def _say(text: str) -> None:
    console().print(text, markup=False, highlight=False)
