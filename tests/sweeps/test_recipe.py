"""Papers' recipes: both settings can be planned by what is registered, and every figure that they name is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.sweep_files import shipped_recipes
from harness.errors import UserError
from harness.models import load_model, shipped_models
from harness.registry import find_method, find_task
from harness.spec import ModelReference
from results.literature import read_papers, read_reported
from sweeps.file import read_sweep
from sweeps.recipe import Recipe, differences, read_recipe
from sweeps.resolve import resolve
from sweeps.space import tunable

RECIPES = {key: read_recipe(path) for key, path in shipped_recipes().items()}
REPORTED = read_reported()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_lab_twin_is_planned_without_a_refusal(recipe: Recipe) -> None:
    file, document = recipe.lab()
    sweep = resolve(file, document, load_model(file.model).reference())
    assert file.model in shipped_models() and not sweep.refused and sweep.name == f"{recipe.key}-lab"
    assert len(file.final.seeds) >= 3 and file.final.on == "test" and file.tune.trials >= 2


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_papers_setting_is_of_what_is_registered(recipe: Recipe) -> None:
    """Without the model itself, whose layers only a machine that has it can look at."""
    for model in recipe.header.models:
        file, _ = recipe.paper(model)
        assert file.model == model and find_task(file.task.name).resolve(file.task.parameters)
        for choice in file.methods:
            entry = find_method(choice.name)
            assert entry.resolve(choice.parameters) and set(choice.search) <= set(tunable(entry, choice))


def test_a_paper_without_adapters_is_planned_whole() -> None:
    file, document = RECIPES["es-at-scale-countdown"].paper("Qwen/Qwen2.5-7B-Instruct")
    sweep = resolve(file, document, ModelReference(name=file.model, revision="not looked up"))
    assert not sweep.refused and [arm.trials for arm in sweep.arms] == [0, 0, 0, 4, 4, 4, 4]
    assert sweep.name == "es-at-scale-countdown-qwen2-5-7b-instruct"


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_figure_that_it_names_is_reported_once(recipe: Recipe) -> None:
    header = recipe.header
    assert header.paper in read_papers()
    task = recipe.paper()[0].task.name
    for model in header.models.values():
        for figure in header.reported.values():
            wanted = (header.paper, figure.where, model, figure.task or task, figure.method, figure.metric)
            found = [f for f in REPORTED if (f.paper, f.where, f.model, f.task, f.method, f.metric) == wanted]
            assert len(found) == 1, wanted
            assert found[0].unit in ("percent", "share") or (found[0].unit == "ratio" and figure.differs), wanted


EXPERIMENTS = (
    ("es-at-scale", "Countdown"),
    ("es-at-scale", "conciseness"),
    ("es-at-scale", "Sudoku"),
    ("es-at-scale", "ARC"),
    ("es-at-scale", "MATH"),
    ("eggroll", "Countdown"),
    ("eggroll", "MATH-500"),
    ("essa", "GSM8K"),
    ("text-to-lora", "unseen tasks"),
    ("doc-to-lora", "SQuAD"),
    ("doc-to-lora", "needle"),
    ("lora-squeeze", "Squeeze"),
    ("kron-lora", "Kron-LoRA"),
    ("comol", "MoA"),
    ("peft-method-comparison", "adapters"),
    ("peft-method-comparison", "QLoRA, LoRA and full fine-tuning, alone and with DPO"),
)


@pytest.mark.parametrize(("paper", "word"), EXPERIMENTS)
def test_every_experiment_that_we_promise_has_one_recipe(paper: str, word: str) -> None:
    headers = [recipe.header for recipe in RECIPES.values() if recipe.header.paper == paper]
    assert len([header for header in headers if word in header.experiment]) == 1


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_setting_that_needs_data_says_where_they_go(recipe: Recipe) -> None:
    needs = recipe.header.needs
    if needs is None:
        with pytest.raises(UserError, match="leave --data out"):
            recipe.paper(data="x")
        return
    file, _ = recipe.paper(data="mine")
    parameters = find_task(file.task.name).parameters
    assert file.task.parameters[needs.parameter] == "mine" and needs.parameter in parameters
    with pytest.raises(UserError, match=r"There is no file or folder mine"):
        find_task(file.task.name).resolve(file.task.parameters)


def test_differences_name_every_setting() -> None:
    recipe = RECIPES["es-at-scale-countdown"]
    paper, lab = recipe.paper()[0], recipe.lab()[0]
    said = differences(paper, lab)
    for line in (
        "model: Qwen/Qwen2.5-3B-Instruct -> lab",
        "task level: paper -> L2",
        "budget rollouts: 3e+06 -> 16384",
        "max new tokens: 1024 -> 64",
        "es-tied population: 30 -> 32",
        "es-tied sigma: 0.001 -> default",
        "es-tied search of sigma: default -> 0.003 to 0.03",
        "final items: 2000 -> 600",
    ):
        assert line in said
    assert differences(paper, paper) == []


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"Did you mean 'Qwen/Qwen2\.5-3B-Instruct'"):
        RECIPES["es-at-scale-countdown"].paper("Qwen2.5-3B-Instruct")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("device:", "devise:", "line 6: No key of a recipe is called 'devise'. Did you mean 'device'?"),
        ("lora-8: {where", "lora-9: {where", "No arm is called 'lora-9'. Did you mean 'lora-8'?"),
        ("method: Kron-LoRA", "methd: Kron-LoRA", "No key of 'reported.kron-lora' is called 'methd'"),
        ("budget: {steps: 8440}", "budget: {step: 8440}", "No key of 'budget' is called 'step'. Did you mean 'steps'?"),
    ],
)
def test_mistakes_have_their_line(tmp_path: Path, before: str, after: str, said: str) -> None:
    text = shipped_recipes()["kron-lora-mistral"].read_text()
    assert before in text
    path = tmp_path / "kron.yaml"
    path.write_text(text.replace(before, after))
    line = text[: text.index(before)].count("\n") + 1
    with pytest.raises(UserError) as error:
        read_recipe(path)
    assert f"kron.yaml, line {line}: " in str(error.value) and said in str(error.value)


def test_a_recipe_is_no_sweep() -> None:
    with pytest.raises(UserError, match="No key of a sweep is called"):
        read_sweep(shipped_recipes()["kron-lora-mistral"])
