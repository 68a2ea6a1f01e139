"""Continued pretraining, dynamic fine-tuning and replay: the losses written out, what is read, what is mixed in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from harness.context import StageContext
from harness.errors import UserError
from harness.events import read_events
from harness.models import load_model
from harness.plan import refusal
from harness.registry import find_method, find_task, load_method, load_task
from methods.objectives.cpt import Packed
from methods.objectives.dataset import rendered
from methods.objectives.replay import Replay
from tests.conftest import make_spec, run_to_end
from tests.methods.test_loss_parity import log_probabilities
from tests.methods.test_loss_tensors import ANSWERS, rows, same, same_gradients, trainer_of

Stages = Callable[..., StageContext]


def test_dft_weighs_each_token_by_its_probability(make_stage: Stages) -> None:
    """-1/T sum_t sg(pi(y_t)) log pi(y_t), T the answer tokens of the batch; no gradient through the weight."""
    trainer = trainer_of(make_stage("sft", loss="dft"))
    model = trainer.model.train()
    ids, mask, answer = rows(trainer.processing_class.pad_token_id)
    batch = {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(answer == 0, -100)}
    logs = log_probabilities(model, ids, mask)
    expected = -(logs.exp().detach() * logs * answer[:, 1:]).sum() / sum(ANSWERS)
    loss = trainer.compute_loss(model, dict(batch))
    same(loss, expected)
    same(trainer.compute_loss(model, dict(batch), num_items_in_batch=torch.tensor(sum(ANSWERS))), expected)
    same_gradients(loss, expected, model)
    other = {**batch, "input_ids": torch.where(mask == 1, ids, 17)}
    same(trainer.compute_loss(model, other), expected)


DOCUMENTS = [[[11, 12, 13, 14, 15], [21, 22, 23], [31, 32, 33, 34]], [[41, 42, 43, 44, 45, 46, 47]]]
"""Two packed rows of unequal length."""


def packed(documents: list[list[list[int]]], pad: int) -> dict[str, torch.Tensor]:
    return Packed(pad)(
        [{"input_ids": sum(row, []), "seq_lengths": [len(one) for one in row]} for row in documents]  # noqa: RUF017
    )


def test_cpt_reads_every_document_as_if_it_stood_alone(make_stage: Stages) -> None:
    """-1/T sum over documents of log pi(x_t | x_<t) of that document, from forward passes over one document each."""
    trainer = trainer_of(make_stage("cpt"))
    model = trainer.model.train()
    total, count = torch.zeros(()), 0
    for document in DOCUMENTS[0] + DOCUMENTS[1]:
        ids = torch.tensor([document])
        total = total - log_probabilities(model, ids, torch.ones_like(ids)).sum()
        count += len(document) - 1
    loss = trainer.compute_loss(model, packed(DOCUMENTS, trainer.processing_class.pad_token_id))
    same(loss, total / count)
    same_gradients(loss, total / count, model)


def test_cpt_does_not_look_at_padding(make_stage: Stages) -> None:
    trainer = trainer_of(make_stage("cpt"))
    one, other = (trainer.compute_loss(trainer.model, packed(DOCUMENTS, pad)) for pad in (1, 17))
    same(one, other)


def decoded(trainer: Any) -> list[str]:
    """The documents of all packed rows; a text that was cut counts once a part."""
    tokenizer, found = trainer.processing_class, []
    for row in trainer.train_dataset:
        place = 0
        for length in row["seq_lengths"]:
            found.append(tokenizer.decode(row["input_ids"][place : place + length]))
            place += length
    return found


def test_cpt_packs_questions_with_their_answers(make_stage: Stages) -> None:
    stage = make_stage("cpt")
    trainer, task = trainer_of(stage), stage.task
    end = stage.policy.tokenizer.eos_token
    assert sorted(decoded(trainer)) == sorted(
        end + task.prompt(i) + task.demonstration(i) + end for i in task.items("train", 64)
    )
    assert max(len(row["input_ids"]) for row in trainer.train_dataset) <= 64 < len(trainer.train_dataset) * 64


def test_cpt_reads_documents_where_there_are_some_and_loses_no_token(make_stage: Stages) -> None:
    stage = make_stage("cpt", examples=8, length=32)
    stage.run.task = load_task("facts", level="F0")
    trainer = trainer_of(stage)
    texts = [document.text for document in stage.task.documents("train", 8)]  # type: ignore[attr-defined]
    tokens = sum(len(stage.policy.tokenizer(text).input_ids) + 2 for text in texts)
    assert sum(map(len, trainer.train_dataset["input_ids"])) == tokens > 4 * 32
    parts = decoded(trainer)
    assert all(any(part.replace("<|endoftext|>", "") in text for text in texts) for part in parts)


def test_cpt_needs_texts() -> None:
    reason = refusal(load_method("cpt"), _Silent())
    assert reason is not None and "'cpt' needs documents or demonstrations" in reason


class _Silent:
    """A task with a verifier and no texts."""

    name, version, offers, max_new_tokens, stop = "silent", 1, frozenset({"verifier"}), 4, None


@pytest.mark.parametrize("method", ["sft", "cpt", "rft"])
def test_replay_is_a_share_of_the_rows(method: str, make_stage: Stages) -> None:
    stage = make_stage(method, replay=0.25, replay_task={"name": "words", "level": "W0"})
    trainer_of(stage)
    (noted,) = [event for event in read_events(stage.run.directory.events) if event["kind"] == "replay"]
    assert noted["rows"] / (noted["rows"] + noted["beside"]) == pytest.approx(0.25, abs=0.02)


def test_replayed_rows_are_the_other_tasks_training_split(make_stage: Stages) -> None:
    stage = make_stage("sft", replay=0.5, replay_task="words")
    trainer = trainer_of(stage)
    words = load_task("words")
    wanted = {words.prompt(item) + words.demonstration(item) for item in words.items("train", 16)}
    texts = [stage.policy.tokenizer.decode(row, skip_special_tokens=True) for row in trainer.train_dataset["input_ids"]]
    assert len(texts) == 32 and sum(text in wanted for text in texts) == 16


def test_files_are_replayed(make_stage: Stages, tmp_path: Path) -> None:
    stage = make_stage("sft")
    (tmp_path / "old.txt").write_text("the first passage\n\nthe second\none\n\n" + 600 * "long ")
    passages = Replay(0.5, str(tmp_path / "old.txt")).rows(stage, 12)
    assert [row["prompt"] for row in passages] == [""] * 12 and passages[0]["completion"].strip() == "the first passage"
    window = stage.policy.model.config.max_position_embeddings
    assert window - 8 < max(len(stage.policy.tokenizer(row["completion"]).input_ids) for row in passages) < window
    jsonl = tmp_path / "old.jsonl"
    jsonl.write_text("".join(json.dumps({"prompt": f"what is {n}", "answer": str(n)}) + "\n" for n in range(40)))
    rows_of_file = Replay(0.5, str(jsonl)).rows(stage, 4)
    assert len(rows_of_file) == 4 and all("what is" in str(row["prompt"]) for row in rows_of_file)
    texts = [rendered(stage.policy.tokenizer, row) for row in rows_of_file]
    assert all(isinstance(row["prompt"], str) and isinstance(row["completion"], str) for row in texts)


def test_a_text_file_is_learnt_beside_demonstrations(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("one\n\ntwo three\n\nfour")
    done = run_to_end(make_spec("sft", replay=0.2, replay_task=str(tmp_path / "old.txt")), tmp_path / "runs")
    assert done.read_result().meters.steps == 4


def test_chat_is_rendered_where_it_meets_text() -> None:
    tokenizer: PreTrainedTokenizerBase = load_model("lab").tokenizer()
    row = {
        "prompt": [{"role": "user", "content": "what is 2"}],
        "completion": [{"role": "assistant", "content": "two"}],
    }
    text = rendered(tokenizer, row)
    whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
    assert whole.startswith(text["prompt"] + text["completion"]) and text["completion"].startswith("two")


def test_what_is_replayed_is_part_of_the_identity(tmp_path: Path) -> None:
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("one")
    second.write_text("one")
    sft = find_method("sft")
    assert _content(sft, str(first)) == _content(sft, str(second))
    second.write_text("two")
    assert _content(sft, str(first)) != _content(sft, str(second))
    assert _content(sft, "words") == _content(sft, {"name": "words"})
    assert _content(sft, "words") != _content(sft, {"name": "words", "level": "W0"})


def _content(entry: Any, source: Any) -> dict[str, Any]:
    return dict(entry.resolve({"replay": 0.1, "replay_task": source}).content()["parameters"])


def test_replay_without_a_source_is_refused_before_anything_runs() -> None:
    for method in ("sft", "rft", "cpt"):
        reason = refusal(load_method(method, replay=0.1), load_task("countdown"))
        assert reason is not None and "replay=0.1 needs replay_task" in reason and reason.count("refused") == 1
    with pytest.raises(UserError, match="Did you mean 'countdown'"):
        find_method("sft").resolve({"replay": 0.1, "replay_task": "countdwn"})


def test_no_replay_leaves_the_loss_alone(make_stage: Stages) -> None:
    """The same rows in the same order: replay=0 is the method without the option."""
    plain, named = make_stage("sft"), make_stage("sft", seed=0, replay=0.0, replay_task="words")
    batches = [next(iter(trainer_of(stage).get_train_dataloader())) for stage in (plain, named)]
    assert torch.equal(batches[0]["input_ids"], batches[1]["input_ids"])


def test_chat_questions_teach_an_answer_to_end(runs: Path, tmp_path: Path) -> None:
    """The lab's template closes a turn with a token that is not the tokenizer's end: what is learnt must count."""
    data = tmp_path / "blue.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"word {n}", "answer": "blue"}) + "\n" for n in range(200)))
    given = find_task("jsonl").resolve({"data": str(data), "template": "model", "max_new_tokens": 8})
    spec = make_spec("sft", steps=60, learning_rate=2e-3, batch_size=8).model_copy(update={"task": given})
    result = run_to_end(spec, runs).read_result()
    assert result.score.truncated == 0 and result.score.accuracy == 1
