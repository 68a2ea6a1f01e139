"""What is asked: chats where the runs' task asks in messages, plain text where it does not, val always, test never."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.models import load_model
from harness.registry import find_task
from harness.spec import RunSpec
from serving.questions import Questions, Settings, Words, asked, ends_of, readable, request_of
from tests.conftest import make_spec

HOW = Settings(temperature=0, top_p=1, max_new_tokens=9, seed=1)


def on(task: str, **parameters: object) -> RunSpec:
    return make_spec("sft").model_copy(update={"task": find_task(task).resolve(parameters)})


def test_a_task_that_asks_in_text_gets_words_as_they_are() -> None:
    questions = Questions([on("countdown", level="L3", style="paper")], has_chat_template=True)
    assert not questions.chat
    own = questions.question(Words(text=" go on"))
    target, request = request_of(own, asked(HOW, own), "m", [1])
    assert target == "/v1/completions" and request["prompt"] == " go on"
    (label,) = questions.topics
    assert label == "countdown level=L3 style=paper"
    number, drawn = questions.draw(label)
    again = questions.question(Words(task=label, item=number))
    assert again.prompt == drawn.prompt == readable(drawn.prompt) and drawn.item is not None
    assert drawn.item.split == "val"


def test_a_chat_goes_on_with_what_was_said() -> None:
    questions = Questions([on("countdown", level="L1", style="chat")], has_chat_template=False)
    assert questions.chat
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    own = questions.question(Words.model_validate({"text": "c", "history": said}))
    target, request = request_of(own, asked(HOW, own), "m", [1])
    assert target == "/v1/chat/completions"
    assert request["messages"] == [*said, {"role": "user", "content": "c"}]


def test_a_split_with_fewer_questions_is_asked_in_full() -> None:
    questions = Questions([on("countdown", level="L0")], has_chat_template=False)
    (topic,) = questions.topics.values()
    assert 0 < len(topic.items) <= 200
    test = {item.id for item in topic.task.items("test")}
    assert not test & {item.id for item in topic.items}


def test_tasks_that_cannot_be_asked_say_why_and_leave_the_template_to_decide(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"prompt": "p", "answer": "a"}\n' * 30)
    spec = on("jsonl", data=str(tmp_path / "q.jsonl"))
    (tmp_path / "q.jsonl").unlink()
    questions = Questions([spec], has_chat_template=True)
    assert not questions.topics and questions.chat
    (reason,) = questions.missing.values()
    assert "q.jsonl" in reason
    with pytest.raises(UserError, match="There is none"):
        questions.draw("jsonl")


def test_the_grader_speaks_of_the_tasks_own_questions_only() -> None:
    questions = Questions([on("countdown", level="L1")], has_chat_template=False)
    (label,) = questions.topics
    _, drawn = questions.draw(label)
    assert drawn.topic is not None and drawn.item is not None
    assert drawn.verdict(drawn.topic.task.demonstration(drawn.item)) == "right"
    assert str(drawn.verdict("")).startswith("wrong (")
    assert questions.question(Words(text="x", task=label)).verdict("x") is None


def test_answers_end_where_those_of_an_evaluation_do() -> None:
    from harness.engines.hf import end_ids

    handle = load_model("lab")
    tokenizer = handle.tokenizer()
    assert ends_of(handle.path, tokenizer) == list(end_ids(handle.model(), tokenizer))
