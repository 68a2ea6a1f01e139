"""A lab model is decided by its recipe, loads like any other model, and has a card with measured figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from harness.lab.build import build
from harness.lab.card import write_card
from harness.lab.recipe import RECIPES, Phase, Recipe
from harness.models import load_model

FAMILIES = {"tasks.countdown.habits": 0.7, "tasks.corpus.sudoku": 0.2, "tasks.corpus.filler": 0.1}
TINY = Recipe(
    name="tiny",
    phases=(
        Phase(families=FAMILIES, tokens=20_000, learning_rate=1e-2, warmup_tokens=2_000),
        Phase(families=FAMILIES, tokens=6_000, learning_rate=1e-3, warmup_tokens=0),
    ),
    hidden_size=32,
    layers=1,
    heads=2,
    intermediate_size=64,
    vocab_size=1400,
    batch_tokens=1024,
    measured={"countdown": ("L0",)},
    probed=("tasks.corpus.sudoku", "tasks.corpus.filler"),
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    lines: list[str] = []
    return build(TINY, tmp_path_factory.mktemp("lab") / "tiny", lines.append), lines


def test_the_same_recipe_gives_the_same_weights(built: tuple[Path, list[str]], tmp_path: Path) -> None:
    again = build(TINY, tmp_path / "again", lambda _: None)
    first, second = (load_file(folder / "model.safetensors") for folder in (built[0], again))
    assert all(first[name].equal(second[name]) for name in first)
    assert load_model(str(again)).revision == load_model(str(built[0])).revision


def test_it_is_a_model_like_any_other(built: tuple[Path, list[str]]) -> None:
    handle = load_model(str(built[0]))
    tokenizer = handle.tokenizer()
    assert tokenizer.decode(tokenizer("3,5,7=22>#3*5+7").input_ids) == "3,5,7=22>#3*5+7"
    assert json.loads((built[0] / "recipe.json").read_text())["name"] == "tiny"


def test_the_card_holds_what_was_measured(built: tuple[Path, list[str]]) -> None:
    write_card(TINY, built[0], lambda _: None)
    card = json.loads((built[0] / "card.json").read_text())
    (task,) = card["tasks"]
    assert (task["task"], task["level"]) == ("countdown", "L0") and 0 <= task["greedy"] <= 1
    sudoku, filler = card["families"]
    assert 0 <= sudoku["greedy"] <= 1 and filler["perplexity"] > 1
    text = (built[0] / "README.md").read_text()
    assert f"{card['parameters']:,} parameters" in text and "countdown L0" in text


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_shipped_weights_are_their_recipes_and_have_a_card(name: str) -> None:
    handle = load_model(name)
    assert Recipe.model_validate_json((handle.path / "recipe.json").read_text()) == RECIPES[name]
    card = json.loads((handle.path / "card.json").read_text())
    assert {task["level"] for task in card["tasks"]} == {lv for lvs in RECIPES[name].measured.values() for lv in lvs}
    assert sum(file.stat().st_size for file in handle.path.iterdir()) < 10_000_000
    (countdown,) = [task for task in card["tasks"] if task["level"] == "L2"]
    assert 0.03 <= countdown["sampled"] <= 0.4  # a reward to find, and something to gain
