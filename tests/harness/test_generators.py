"""Adapters that come from text: one by one or together, applied or exported, they are the same; the base is untouched.

The hypernetwork is the tests' own (`tests.letters`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from harness.contracts import Sampling
from harness.engines.adapted import AdaptedEngine
from harness.engines.hf import HFEngine
from harness.errors import UserError
from harness.evaluate import evaluate, mismatched
from harness.generator_model import GeneratorModel
from harness.generators import find_generator
from harness.models import load_model
from harness.plan import refusal
from harness.policy import Policy
from harness.registry import load_method, load_task
from harness.spec import ModelReference
from methods.parameterisations.generated import Generated
from tests.conftest import make_spec, run_to_end
from tests.letters import policy, saved

TEXTS = ["add the two ends.", "which is largest?", "reverse", "the whole line, once more"]
GREEDY = Sampling(12, 0.0)


@pytest.fixture(scope="module")
def model() -> GeneratorModel:
    return policy().model


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    return [str(load_task("countdown", level=f"L{n % 3}").prompt(i)) for n in range(3) for i in
            load_task("countdown", level=f"L{n}").items("val", 4)]  # fmt: skip


def logits(base: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        out: torch.Tensor = base(ids).logits
    return out


IDS = torch.arange(3, 19)[None]


def assert_same(one: torch.Tensor, other: torch.Tensor) -> None:
    """Equal up to float32's rounding of the sums, which is relative to the largest logit."""
    assert (one - other).abs().max() <= 1e-5 * other.abs().max()


@torch.inference_mode()
def test_rows_of_one_batch_carry_their_own_adapters(model: GeneratorModel) -> None:
    together = model.write(TEXTS)
    with model.applied(together):
        batch = logits(model.base, IDS.repeat(len(TEXTS), 1))
    for place, text in enumerate(TEXTS):
        with model.applied(model.write([text])):
            alone = logits(model.base, IDS)
        assert_same(batch[place], alone[0])
    assert (batch[0] - batch[1]).abs().max() > 1e-2


def test_the_base_is_itself_again_bit_for_bit(model: GeneratorModel) -> None:
    before = logits(load_model("lab").model().eval(), IDS)
    with torch.inference_mode():
        adapters = model.write(TEXTS[:1])
        for _ in range(2):
            with model.applied(adapters):
                once = logits(model.base, IDS)
    with model.applied(adapters):
        assert torch.equal(logits(model.base, IDS), once)
    assert torch.equal(logits(model.base, IDS), before) and not torch.allclose(once, before, atol=1e-3)


def test_applied_equals_the_peft_directory_and_its_merge(model: GeneratorModel, tmp_path: Path) -> None:
    """Dossier oracles 6 and 7: functional, PeftModel and merged; A is [rank, inputs], B is [outputs, rank]."""
    with torch.inference_mode():
        adapters = model.write(TEXTS)
    for place in (0, 2):
        with model.applied(model.write(TEXTS[place : place + 1])):
            applied = logits(model.base, IDS)
        folder = tmp_path / str(place)
        written = adapters.adapter(place, "lab")
        written.write(folder)
        assert {one.rank for one in written.modules.values()} == {(2, 2, 1)[place]}
        adapted = PeftModel.from_pretrained(load_model("lab").model(), folder).eval()
        assert_same(logits(adapted, IDS), applied)
        assert_same(logits(adapted.merge_and_unload(), IDS), applied)
        assert_same(logits(load_model(str(folder)).model(), IDS), applied)


def test_answers_are_those_of_each_adapter_alone(model: GeneratorModel, prompts: list[str]) -> None:
    """Dossier oracles 9 and 10: whatever shares the batch, padding included."""
    texts = [TEXTS[n % len(TEXTS)] for n in range(len(prompts))]
    engine = AdaptedEngine(model, model.tokenizer, batch_rows=7)
    found = engine.generate(prompts, texts, GREEDY, seed=0)
    backwards = engine.generate(prompts[::-1], texts[::-1], GREEDY, seed=0)[::-1]
    assert [one.token_ids for one in found] == [one.token_ids for one in backwards]
    bounded = AdaptedEngine(model, model.tokenizer, batch_tokens=1).generate(prompts, texts, GREEDY, seed=0)
    assert [one.token_ids for one in found] == [one.token_ids for one in bounded]
    for text in TEXTS:
        places = [n for n, one in enumerate(texts) if one == text]
        handle = load_model("lab")
        alone = handle.model().eval()
        with torch.no_grad():
            for name, update in model.write([text]).adapter(0, "lab").modules.items():
                alone.get_submodule(name).weight.add_(update.dense().float())
        answers = HFEngine(alone, handle.tokenizer()).generate([prompts[n] for n in places], GREEDY, 0)
        assert [found[n].token_ids for n in places] == [one.token_ids for one in answers]
    base = HFEngine(model.base, model.tokenizer).generate(prompts, GREEDY, 0)
    assert [one.token_ids for one in base] != [one.token_ids for one in found]


def test_gradients_reach_the_hypernetwork_alone(model: GeneratorModel) -> None:
    for texts in (TEXTS[:1], TEXTS):
        model.zero_grad()
        with model.applied(model.write(texts)):
            model(IDS.repeat(len(texts), 1)).logits.square().mean().backward()
        assert all(tensor.grad is not None and tensor.grad.any() for tensor in model.hypernetwork.parameters())
        assert all(tensor.grad is None for tensor in model.base.parameters())
    model.zero_grad()


def test_kept_and_opened_it_writes_the_same(tmp_path: Path) -> None:
    run = saved(tmp_path)
    handle = find_generator(run)
    again = handle.open(handle.base().model(), handle.base().tokenizer())
    for name, tensor in policy().model.write(TEXTS).down.items():
        assert torch.equal(tensor, again.write(TEXTS).down[name])
    assert {path.name for path in (run / "model").iterdir()} >= {"generator.json", "generator.safetensors"}
    assert not list((run / "model").glob("*.bin"))


def test_a_wrong_run_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no directory"):
        find_generator(tmp_path / "nothing")
    with pytest.raises(UserError, match="no generator in"):
        find_generator(tmp_path)
    run = saved(tmp_path, ModelReference(name="lab", revision="another"))
    with pytest.raises(UserError, match="revision another of 'lab'"):
        find_generator(run).base()


def test_a_stage_that_starts_from_a_generated_adapter(tmp_path: Path) -> None:
    run = str(saved(tmp_path) / "model")
    task = load_task("countdown", level="L0")
    lab, reader = load_model("lab").reference(), load_model("lab-reader").reference()
    for made, why in (
        (Generated(None, "x"), "needs generator=RUN"),
        (Generated(run), "one of the two"),
        (Generated(run, " "), "empty"),
    ):
        assert why in str(made.refuses(task, lab))
    assert "for 'lab', not for 'lab-reader'" in str(Generated(run, "x").refuses(task, reader))
    assert Generated(run, "x").refuses(task, lab) is None
    handle = load_model("lab")
    start = Policy(handle.model().eval(), handle.tokenizer(), handle.path)
    adapted = Generated(run, TEXTS[0]).attach(start, 0)
    model = policy().model
    with model.applied(model.write(TEXTS[:1])):
        assert_same(logits(adapted.model, IDS), logits(model.base, IDS))
    assert all("lora_" in name for name in adapted.tensors())


def test_controls_stand_beside_the_score() -> None:
    """Mismatched and junk texts of the same trained generator, item by item; the text itself is not in the prompt."""
    task = load_task("instructions", level="seen")
    spec = make_spec("base", model="lab", task="instructions")
    score, rows = evaluate(spec, task, policy(), "val", 6, few_shot=0, controls=True)
    assert set(score.measures) == {"mismatched", "junk", "matched minus mismatched"}
    for row in rows:
        measures = json.loads(row["measures"])
        assert measures["matched minus mismatched"] == float(row["correct"]) - measures["mismatched"]
    items = task.items("val", 6)
    assert [row["prompt"] for row in rows] == [task.prompt_with(item, "") for item in items]
    assert not any(task.text(item) in row["prompt"] for item, row in zip(items, rows, strict=True))
    assert not evaluate(spec, task, policy(), "val", 6, few_shot=0)[0].measures


def test_a_mismatched_text_shares_no_part_of_the_subject() -> None:
    task = load_task("instructions", level="seen")
    items = list(task.items("val", 40))
    for item, text in zip(items, mismatched(task, items), strict=True):
        of = [other for other in items if task.text(other) == text]
        assert of and not any(set(task.subject(item)) & set(task.subject(other)) for other in of)
    assert mismatched(task, items[:1]) == [None]


def test_a_task_without_texts_is_answered_by_the_base() -> None:
    task, spec = load_task("countdown", level="L0"), make_spec("base")
    made = policy()
    plain = Policy(made.model.base, made.tokenizer, made.start)
    assert evaluate(spec, task, made, "val", 6, few_shot=0) == evaluate(spec, task, plain, "val", 6, few_shot=0)


def test_a_trained_generator_is_scored_as_a_model(tmp_path: Path) -> None:
    """On any level, without training again: the same answers and controls as in the run that trained it."""
    run = saved(tmp_path)
    handle = load_model(str(run))
    assert load_model(str(run / "model")).reference() == handle.reference() != load_model("lab").reference()
    spec = make_spec("base", model=str(run), task="instructions")
    done = run_to_end(spec, tmp_path / "runs").read_result()
    score, _ = evaluate(spec, load_task("instructions"), policy(), "val", 6, few_shot=0, controls=True)
    assert done.score == score and done.score.measures and not done.stages
    told = evaluate(spec, load_task("instructions"), policy(), "val", 6, few_shot=0, told=True)
    base = Policy(load_model("lab").model().eval(), load_model("lab").tokenizer(), load_model("lab").path)
    assert told == evaluate(spec, load_task("instructions"), base, "val", 6, few_shot=0, told=True)
    for method in ("sft", "few-shot"):
        why = refusal(load_method(method), load_task("instructions"), handle.reference())
        assert why is not None and "is a generator, which is scored as it is, by base" in why


@pytest.mark.parametrize(("method", "fit"), [("t2l", "instructions"), ("d2l", "facts")])
def test_a_generator_on_a_task_without_texts_is_told_where_it_can_train(method: str, fit: str) -> None:
    """No other method on Countdown is near to it, so none is named."""
    said = refusal(load_method(method), load_task("countdown", level="L2"))
    assert said is not None and said.endswith(f"It can train on {fit} (beyondrl list pairs).")
