"""A lab model is decided by its recipe, loads like any other model, and has a card with measured figures."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.lab import build as building
from harness.lab.build import build
from harness.lab.card import write_card
from harness.lab.recipe import RECIPES, Phase, Recipe
from harness.models import load_model
from tasks.corpus import facts

FAMILIES = {"tasks.countdown.habits": 0.7, "tasks.sudoku.corpus": 0.2, "tasks.corpus.filler": 0.1}
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
    probed=("tasks.sudoku.corpus", "tasks.corpus.filler"),
)
READING = {"tasks.corpus.facts": 0.6, "tasks.corpus.instructions": 0.3, "tasks.corpus.filler": 0.1}
TINY_READER = Recipe(
    name="tiny-reader",
    phases=(Phase(families=READING, tokens=12_000, learning_rate=1e-3, warmup_tokens=0, gate=0.0),),
    hidden_size=32,
    layers=2,
    heads=2,
    intermediate_size=32,
    vocab_size=1400,
    batch_rows=8,
    pool=32,
    tie_embeddings=False,
    initializer_range=0.06,
    embedding_range=1.0,
    look_back=5.0,
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


def test_a_gated_phase_takes_its_families_from_stage_to_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(building, "_GATE_STEPS", 2)
    monkeypatch.setattr(building, "_GATE_PROBES", 8)
    lines: list[str] = []
    build(TINY_READER, tmp_path, lines.append)
    stages = [line.split(":")[0] for line in lines if line.startswith("tasks.corpus.facts")]
    assert stages[:5] == [f"tasks.corpus.facts stage {stage}" for stage in (0, 1, 2, 3, 3)]
    assert not any(line.startswith("tasks.corpus.filler") for line in lines)


def test_the_first_layers_heads_begin_by_looking_back(built: tuple[Path, list[str]]) -> None:
    torch.manual_seed(0)
    model = building.Qwen2ForCausalLM(building._config(TINY_READER, load_model(str(built[0])).tokenizer()))
    building._initialise(model, TINY_READER)
    model.set_attn_implementation("eager")
    weights = model(torch.randint(0, 1000, (1, 12)), output_attentions=True).attentions[0][0]
    for head in (0, 1):
        assert weights[head, 4:].argmax(-1).tolist() == [place - head - 1 for place in range(4, 12)]


def test_a_quiz_is_learnt_on_all_its_answers_alone(built: tuple[Path, list[str]]) -> None:
    tokenizer = load_model(str(built[0])).tokenizer()
    rng = random.Random(0)
    document = facts.document(rng, 3)
    passage = facts.quiz(document, [facts.question(rng, document, fact) for fact in document.facts])
    ids, labels = building._row(passage, tokenizer)
    learnt = [label for label in labels if label != -100]
    assert tokenizer.decode(ids[:-1]) == passage.text and ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(learnt[:-1]) == "".join(f" {fact.value}" for fact in document.facts)


def test_the_loss_at_labels_is_the_models_own(built: tuple[Path, list[str]]) -> None:
    handle = load_model(str(built[0]))
    model = building.Qwen2ForCausalLM.from_pretrained(handle.path)
    ids, labels = next(building._batches(TINY_READER, 0, handle.tokenizer(), {}))
    expected = model(input_ids=ids, labels=labels).loss
    assert building._loss(model, ids, labels).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_shipped_weights_are_their_recipes_and_have_a_card(name: str) -> None:
    handle = load_model(name)
    assert Recipe.model_validate_json((handle.path / "recipe.json").read_text()) == RECIPES[name]
    card = json.loads((handle.path / "card.json").read_text())
    measured = [(task, level) for task, levels in RECIPES[name].measured.items() for level in levels]
    assert [(row["task"], row["level"]) for row in card["tasks"]] == measured
    assert sum(file.stat().st_size for file in handle.path.iterdir()) < 10_000_000
    assert [family["family"] for family in card["families"]] == [f.rsplit(".", 1)[-1] for f in RECIPES[name].probed]
    assert all(family.get("greedy", 1.0) >= 0.9 for family in card["families"])


def test_the_lab_model_has_a_reward_to_find_and_something_to_gain() -> None:
    card = json.loads((load_model("lab").path / "card.json").read_text())
    (countdown,) = [row for row in card["tasks"] if (row["task"], row["level"]) == ("countdown", "L2")]
    assert 0.03 <= countdown["sampled"] <= 0.4
