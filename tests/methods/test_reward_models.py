"""Reward models: losses, step labels, the folder, held-out accuracy in the record, and their use as a reward."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch
import torch.nn.functional as F

from harness.context import StageContext
from harness.contracts import Completion, Resources
from harness.errors import UserError
from harness.events import read_events
from harness.models import load_model
from harness.plan import refusal
from harness.policy import digest_of
from harness.record import RunDirectory
from harness.registry import find_method, find_task, load_method, load_task
from harness.worker import FAILED, work
from methods.online.reward import Reward
from methods.reward_models.card import FOLDER, Card, read_card
from methods.reward_models.judge import Judge, joined
from methods.reward_models.step_labels import labelled_steps
from methods.reward_models.text import read_as, steps_of
from methods.reward_models.training import Answer, held_apart, pairs_of
from results.ingest import ingest
from tests.conftest import make_spec, place, run_to_end
from tests.methods.test_loss_parity import disturb
from tests.methods.test_loss_tensors import rows, same, same_gradients, trainer_of

Stages = Callable[..., StageContext]
RL = ["grpo", "dr-grpo", "dapo", "gspo", "rloo", "reinforce", "ppo"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDirectory]:
    """A finished run of each kind."""
    runs = tmp_path_factory.mktemp("trained")
    return {kind: run_to_end(make_spec(kind), runs) for kind in ("reward-model", "process-reward-model")}


def test_the_outcome_loss_is_minus_log_sigmoid_of_the_difference_at_the_last_token(make_stage: Stages) -> None:
    trainer = trainer_of(make_stage("reward-model"))
    model = trainer.model.train()
    disturb(model)
    ids, mask, _ = rows(trainer.processing_class.pad_token_id)
    hidden = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
    scores = (hidden[torch.arange(4), mask.sum(-1) - 1] @ model.score.weight[0]).float()
    expected = -F.logsigmoid(scores[:2] - scores[2:]).mean()
    loss = trainer.compute_loss(model, {"input_ids": ids, "attention_mask": mask})
    same(loss, expected)
    same_gradients(loss, expected, model)


def test_the_step_loss_is_the_cross_entropy_at_the_ends_of_steps(make_stage: Stages) -> None:
    trainer = trainer_of(make_stage("process-reward-model"))
    model = trainer.model.train()
    disturb(model)
    given = [
        {"ids": [5, 6, 7, 8, 9, 10], "ends": [2, 5], "step_labels": [0.25, 1.0]},
        {"ids": [11, 12, 13], "ends": [2], "step_labels": [0.0]},
    ]
    losses = []
    for row in given:
        hidden = model.base_model(input_ids=torch.tensor([row["ids"]])).last_hidden_state[0, row["ends"]]
        chance = torch.sigmoid(hidden @ model.score.weight[0] + model.score.bias)
        label = torch.tensor(row["step_labels"])
        losses += list(-(label * chance.log() + (1 - label) * (1 - chance).log()))
    expected = torch.stack(losses).mean()
    batch = trainer.data_collator(given)
    loss = trainer.compute_loss(model, dict(batch))
    same(loss, expected)
    same_gradients(loss, expected, model)
    other = {**batch, "input_ids": torch.where(batch["attention_mask"] == 1, batch["input_ids"], 17)}
    same(trainer.compute_loss(model, other), loss)


def test_steps_are_cut_after_the_delimiter_and_each_ends_at_a_token_of_its_own() -> None:
    assert steps_of("1+2=3; 3*4=12\n#### 12", "\n") == ["1+2=3; 3*4=12\n", "#### 12"]
    assert steps_of("a\n\nb\n", "\n") == ["a\n", "\n", "b\n"]
    assert steps_of("", "\n") == [""] and steps_of("a\nb", None) == ["a\nb"]
    tokenizer = load_model("lab").tokenizer()
    steps = ["4*7=", "28#", "4*7"]
    seen = read_as(tokenizer, "7,4=28>", steps, truncated=False)
    assert tokenizer.decode(seen.ids[:-1]) == "7,4=28>4*7=28#4*7" and seen.ids[-1] == tokenizer.eos_token_id
    assert [tokenizer.decode(seen.ids[end]) for end in seen.ends[:2]] == ["=", "#"]
    assert seen.ends[2] == len(seen.ids) - 1
    assert read_as(tokenizer, "7,4=28>", steps, truncated=True).ids == seen.ids[:-1]


def test_scores_of_steps_are_joined_as_the_card_says() -> None:
    chances = torch.tensor([0.5, 0.25, 1.0])
    ways = {way: joined(chances, way) for way in ("min", "product", "mean", "last")}  # type: ignore[arg-type]
    assert ways == {"min": 0.25, "product": 0.125, "mean": pytest.approx(1.75 / 3), "last": 1.0}


def test_steps_are_labelled_by_how_often_the_start_policy_gets_it_right_from_there(make_stage: Stages) -> None:
    stage = make_stage("process-reward-model")
    soft = labelled_steps(stage, 8, 4, 6, "=", False, 1.0, 0.9)
    rollouts = stage.run.meters.read().rollouts
    assert rollouts == 8 * 4 + 6 * sum(len(one.labels) - 1 for one in soft)
    hard = labelled_steps(stage, 8, 4, 6, "=", True, 1.0, 0.9)
    assert len({(one.item.id, one.text) for one in soft}) == len(soft)
    assert {label for one in soft for label in one.labels} - {0.0, 1.0}, "no share between: this would prove nothing"
    for share, anyone in zip(soft, hard, strict=True):
        assert len(share.labels) == len(steps_of(share.text, "=")) and share.text == anyone.text
        assert share.labels[-1] == anyone.labels[-1] == float(stage.task.grade(share.item, share.text).correct)
        assert anyone.labels[:-1] == [float(label > 0) for label in share.labels[:-1]]
        assert all(label * 6 == round(label * 6) for label in share.labels)
    again = labelled_steps(stage, 8, 4, 6, "=", False, 1.0, 0.9)
    assert again == soft and stage.run.meters.read().rollouts == 3 * rollouts  # a file that is found is paid for


def test_held_out_prompts_are_whole_prompts_and_pairs_use_every_wrong_answer(make_stage: Stages) -> None:
    groups = [
        [Answer(f"q{prompt}", f"{number}", False, number < right) for number in range(4)]
        for prompt, right in enumerate([1, 2, 0, 4, 1, 2])
    ]
    sets = held_apart(make_stage("reward-model"), groups, 0.5)
    prompts = [{group[0].prompt for group in part} for part in (sets.trained, sets.held_out)]
    assert prompts[0] | prompts[1] == {"q0", "q1", "q4", "q5"} and len(prompts[1]) == 2 and not prompts[0] & prompts[1]
    pairs = pairs_of(groups[1], 4)
    assert len(set(pairs)) == 4 and all(good.right and not bad.right for good, bad in pairs)
    assert {bad.text for _, bad in pairs_of(groups[1], 2)} == {"2", "3"}
    assert not held_apart(make_stage("reward-model", seed=1), groups[:1], 0.5).held_out


@pytest.mark.parametrize("kind", ["reward-model", "process-reward-model"])
def test_a_run_leaves_the_policy_and_a_model_that_loads(
    kind: str, trained: dict[str, RunDirectory], make_stage: Stages
) -> None:
    directory = trained[kind]
    start = digest_of(load_model("lab").model().named_parameters())
    assert directory.read_result().weights_digest == start
    meters = directory.read_result().meters
    assert meters.steps == 4 and meters.trained_tokens > 0 and meters.rollouts > 0
    judge = Judge(make_stage("grpo"), directory.path / FOLDER)
    assert judge.card.kind == kind and judge.card.pairs > 0
    backbone = dict(judge.model.base_model.named_parameters())
    before = dict(load_model("lab").model().base_model.named_parameters())
    assert backbone.keys() == before.keys() and digest_of(backbone.items()) != digest_of(before.items())


@pytest.mark.parametrize("kind", ["reward-model", "process-reward-model"])
def test_the_held_out_accuracy_is_in_the_database(kind: str, trained: dict[str, RunDirectory], tmp_path: Path) -> None:
    directory = trained[kind]
    ingest(directory.path.parents[2], tmp_path / "results.duckdb")
    with duckdb.connect(str(tmp_path / "results.duckdb"), read_only=True) as connection:
        found = dict(
            connection.execute(
                "SELECT name, value FROM metrics WHERE run_id = ? AND name LIKE 'held_out/%'",
                [directory.read_spec().run_id],
            ).fetchall()
        )
    card = read_card(directory.path / FOLDER)
    assert found["held_out/pair_accuracy"] == card.pair_accuracy and found["held_out/pairs"] == card.pairs
    assert 0.0 <= found["held_out/pair_accuracy"] <= 1.0
    assert ("held_out/step_error" in found) == (kind == "process-reward-model")


def test_given_preferences_make_a_reward_model_and_that_a_reward_where_there_is_no_verifier(tmp_path: Path) -> None:
    """The chosen answer is a sum: on prompts that it has not seen the model prefers sums too."""
    data = tmp_path / "data"
    data.mkdir()
    numbers = {"train": range(10, 90), "val": range(90, 94), "test": range(94, 98)}
    for split, first in numbers.items():
        given = [{"prompt": f"{a},{a + 1}>", "chosen": f"{a}+{a + 1}", "rejected": f"{a}-{a + 1}"} for a in first]
        (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    task = find_task("jsonl").resolve({"data": str(data), "template": "plain"})
    spec = make_spec("reward-model", steps=50, batch_size=16, prompts=80)
    evaluation = spec.evaluation.model_copy(update={"items": 4, "curve_points": 0})
    directory = run_to_end(spec.model_copy(update={"task": task, "evaluation": evaluation}), tmp_path / "runs")
    card = read_card(directory.path / FOLDER)
    assert card.pairs == 24 and card.pair_accuracy is not None and card.pair_accuracy > 0.8
    assert directory.read_result().meters.generated_tokens == 0
    preferred = load_task("jsonl", data=str(data), template="plain")
    assert refusal(load_method("grpo"), preferred) is not None
    judged = load_method("grpo", reward="reward-model", reward_model=str(directory.path))
    assert refusal(judged, preferred) is None


def test_a_reward_is_the_scaled_score_and_what_it_costs_is_charged(
    trained: dict[str, RunDirectory], make_stage: Stages
) -> None:
    stage = make_stage("grpo")
    items = list(stage.train_items(3))
    answers = [Completion(text, [], [], text == "") for text in ("?5+9=14#5+9", "", "#")]
    folder = str(trained["reward-model"].path / FOLDER)
    before = stage.run.meters.read().flops
    found = Reward("reward-model", folder).scorer(stage)(items, answers)
    judge = Judge(stage, Path(folder))
    expected, tokens = [], 0
    for item, answer in zip(items, answers, strict=True):
        ids = judge.tokenizer(str(stage.task.prompt(item)) + answer.text).input_ids
        ids += [] if answer.truncated else [judge.tokenizer.eos_token_id]
        with torch.no_grad():
            expected.append((float(judge.model(torch.tensor([ids])).logits) - judge.card.mean) / judge.card.std)
        tokens += len(ids)
    assert found == pytest.approx(expected, abs=1e-4)
    assert stage.run.meters.read().flops - before == 2.0 * judge.parameters * tokens
    both = Reward("verifier+reward-model", folder, 0.5).scorer(stage)(items, answers)
    verified = Reward().scorer(stage)(items, answers)
    assert both == pytest.approx([v + 0.5 * s for v, s in zip(verified, expected, strict=True)], abs=1e-4)


@pytest.mark.parametrize("method", RL)
def test_every_method_takes_a_reward_model(method: str, trained: dict[str, RunDirectory], runs: Path) -> None:
    kind = "process-reward-model" if method in ("grpo", "ppo") else "reward-model"
    spec = make_spec(method, steps=2, reward=kind, reward_model=str(trained[kind].path))
    values = [event["values"] for event in read_events(run_to_end(spec, runs).events) if event["kind"] == "metrics"]
    verified = {0.0, 0.1, 0.2, 1.0}
    assert values[0]["reward"] not in verified and values[0]["reward_std"] > 0


def test_identity_follows_the_content_of_the_model_and_not_its_place(
    trained: dict[str, RunDirectory], tmp_path: Path
) -> None:
    run = trained["reward-model"].path
    shutil.copytree(run / FOLDER, tmp_path / "copy")

    def run_id(place: Path) -> str:
        return make_spec("grpo", reward="reward-model", reward_model=str(place)).run_id

    assert run_id(run) == run_id(run / FOLDER) == run_id(tmp_path / "copy")
    card = tmp_path / "copy" / "reward_model.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"std": 2.0}))
    assert run_id(tmp_path / "copy") != run_id(run)


def test_a_run_whose_reward_model_has_changed_since_its_plan_is_refused(
    trained: dict[str, RunDirectory], tmp_path: Path
) -> None:
    shutil.copytree(trained["reward-model"].path / FOLDER, tmp_path / "copy")
    directory = place(make_spec("grpo", reward="reward-model", reward_model=str(tmp_path / "copy")), tmp_path / "runs")
    card = tmp_path / "copy" / "reward_model.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"std": 2.0}))
    assert work(directory.path, Resources()) == FAILED
    assert "has changed since it was planned" in directory.read_failure().message


def test_what_cannot_be_a_reward_is_refused_in_a_sentence_at_plan_time(
    trained: dict[str, RunDirectory], tmp_path: Path
) -> None:
    outcome, process = (str(trained[kind].path) for kind in ("reward-model", "process-reward-model"))
    countdown, words = load_task("countdown", level="L0"), load_task("words")

    def reason(task: Any = countdown, **given: Any) -> str:
        return refusal(load_method("grpo", **given), task) or ""

    assert refusal(load_method("grpo", reward="reward-model", reward_model=outcome), countdown) is None
    assert "needs reward_model=DIRECTORY" in reason(reward="reward-model")
    assert "does not use it" in reason(reward_model=outcome)
    assert "needs a reward-model" in reason(reward="reward-model", reward_model=process)
    assert "needs a process-reward-model" in reason(reward="verifier+process-reward-model", reward_model=outcome)
    assert "knows nothing of 'words'" in reason(words, reward="reward-model", reward_model=outcome)
    assert "There is no reward model in" in reason(reward="reward-model", reward_model=str(tmp_path))
    (tmp_path / "reward_model.json").write_text('{"kind": "reward-model"}')
    assert "is no card of a reward model" in reason(reward="reward-model", reward_model=str(tmp_path))
    with pytest.raises(UserError, match="no file or folder"):
        find_method("grpo").resolve({"reward": "reward-model", "reward_model": str(tmp_path / "missing")})
    assert all(reason(reward="reward-model").count(mark) == 1 for mark in ("refused", "DIRECTORY"))


def test_the_pipeline_is_rewarded_by_the_model_that_it_trained(runs: Path) -> None:
    directory = run_to_end(make_spec("rm-grpo", steps=6), runs)
    events = read_events(directory.events)
    card = Card.model_validate(next(event["card"] for event in events if event["kind"] == "reward_model"))
    assert card == read_card(directory.path / FOLDER)
    rewards = [e["values"]["reward"] for e in events if e["kind"] == "metrics" and "reward" in e["values"]]
    assert len(rewards) == 3 and all(reward != 0 for reward in rewards)
    assert directory.read_result().weights_digest != digest_of(load_model("lab").model().named_parameters())
