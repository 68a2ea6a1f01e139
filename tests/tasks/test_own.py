"""A user's own JSONL: every kind of row, every grader by name, templates, and mistakes named by file and line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness import load_method, load_model, load_task
from harness.contracts import LikelihoodTask
from harness.engines.hf import HFEngine
from harness.errors import UserError
from harness.plan import lacking, refusal
from tasks.own.templates import render
from tests.contracts.test_tasks import HOSTILE, QUICK_SECONDS

USER = {"role": "user", "content": "What is two and two?"}
TURN = {"role": "assistant", "content": "Four."}


def write(place: Path, *rows: Any) -> str:
    place.parent.mkdir(parents=True, exist_ok=True)
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    place.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(place)


def only(tmp_path: Path, row: Mapping[str, Any], **given: Any) -> tuple[Any, Any]:
    """The task of a folder whose test split is one row, and its item."""
    write(tmp_path / "test.jsonl", row)
    task = load_task("jsonl", data=str(tmp_path), **given)
    return task, task.items("test", 1)[0]


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"prompt": "What is two and two?", "answer": "Four."}, "Four."),
        ({"prompt": "What is two and two?", "answer": 4}, "4"),
        ({"prompt": "What is two and two?", "answer": ["Four.", "4"]}, "Four."),
        ({"prompt": [USER], "answer": "Four."}, "Four."),
        ({"prompt": "What is two and two?", "completion": "Four."}, "Four."),
        ({"prompt": [USER], "completion": [TURN]}, "Four."),
        ({"messages": [USER, TURN]}, "Four."),
        ({"instruction": "What is two and two?", "input": "", "output": "Four."}, "Four."),
    ],
)
def test_every_kind_of_row(tmp_path: Path, row: dict[str, Any], answer: str) -> None:
    task, item = only(tmp_path, row)
    assert task.prompt(item) == [USER] and task.demonstration(item) == answer
    assert task.grade(item, answer).correct and not task.grade(item, "Five.").correct
    assert not isinstance(task, LikelihoodTask) and task.offers == {"demonstrations", "verifier"}


def test_any_of_several_answers_is_right(tmp_path: Path) -> None:
    task, item = only(tmp_path, {"prompt": "p", "answer": ["Four.", "4"]})
    assert [task.grade(item, text).correct for text in ("Four.", " 4\n", "4 Four.", "")] == [True, True, False, False]


ANSWERS: list[tuple[dict[str, Any], str, str, str, str]] = [
    ({"grader": "exact"}, "blue", " blue ", "Blue", "wrong"),
    ({"grader": "numeric"}, "18", "So she has $18.00 left.", "So she has 18 of 19", "wrong"),
    ({"grader": "numeric"}, "6 * 3 = 18\n#### 18", "#### 18", "many", "no_answer"),
    ({"grader": "math"}, "\\frac{1}{2}", "It is \\boxed{0.5}.", "It is \\boxed{2}.", "different"),
    ({"grader": "regex", "pattern": "colou?r: (\\w+)"}, "color: blue", "colour: red, color: blue", "blue", "no_match"),
    ({"grader": "f1"}, "the blue whale", "A blue whale!", "red fox", "below_threshold"),
    ({"grader": "f1", "threshold": 1.0}, "blue whale", "the blue whale", "big blue whale", "below_threshold"),
    ({"grader": "rouge-l"}, "the cat sat on the mat", "the cat sat on a mat", "dogs bark", "below_threshold"),
    ({"grader": "bleu"}, "the cat sat on the mat", "the cat sat on the mat", "a dog", "below_threshold"),
]


@pytest.mark.parametrize(("given", "gold", "right", "wrong", "reason"), ANSWERS)
def test_every_grader(tmp_path: Path, given: dict[str, Any], gold: str, right: str, wrong: str, reason: str) -> None:
    task, item = only(tmp_path, {"prompt": "p", "answer": gold}, **given)
    assert task.grade(item, right).correct and task.grade(item, right).reward == 1
    assert task.grade(item, task.demonstration(item)).correct
    grade = task.grade(item, wrong)
    assert not grade.correct and grade.reward == 0 and grade.reason == reason


@pytest.mark.parametrize("given", [case[0] for case in ANSWERS], ids=[case[0]["grader"] for case in ANSWERS])
@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_text_is_wrong_and_quick(tmp_path: Path, given: dict[str, Any], name: str) -> None:
    gold = next(case[1] for case in ANSWERS if case[0] == given)
    task, item = only(tmp_path, {"prompt": "p", "answer": gold}, **given)
    task.grade(item, "warm up")
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        grade = task.grade(item, HOSTILE[name])
        seconds.append(time.perf_counter() - started)
    assert not grade.correct and grade.reason != "ok" and min(seconds) < QUICK_SECONDS


def test_a_pattern_that_explodes_is_stopped(tmp_path: Path) -> None:
    task, item = only(tmp_path, {"prompt": "p", "answer": "aaa!"}, grader="regex", pattern="((?:a+)+)!")
    started = time.perf_counter()
    grade = task.grade(item, "a" * 5000)
    assert grade.reason in ("timeout", "no_match") and time.perf_counter() - started < 1


def test_overlap_is_the_reward_if_asked_for(tmp_path: Path) -> None:
    row = {"prompt": "p", "answer": "the cat sat on the mat"}
    task, item = only(tmp_path, row, grader="rouge-l", reward="score")
    grade = task.grade(item, "the cat sat")
    assert grade.reward == pytest.approx(2 / 3) and grade.measures["rouge-l"] == grade.reward
    plain, _ = only(tmp_path, row, grader="rouge-l", threshold=0.9)
    assert plain.grade(item, "the cat sat").reward == 0


def test_settings_belong_to_their_graders(tmp_path: Path) -> None:
    for given, message in [
        ({"grader": "exact", "pattern": "x"}, "pattern belongs to the grader regex"),
        ({"grader": "regex"}, "needs a pattern"),
        ({"grader": "regex", "pattern": "("}, "no regular expression"),
        ({"grader": "f1", "threshold": 2.0}, "above 0 and at most 1"),
        ({"grader": "judge"}, "needs an address and a model"),
        ({"grader": "judge", "judge_url": "file:///x", "judge_model": "m"}, "begins with http"),
        ({"grader": "judge", "judge_url": "http://x", "judge_model": "m", "judge_key": "NOT_SET_HERE"}, "NOT_SET_HERE"),
        ({"grader": "exakt"}, "exakt"),
    ]:
        with pytest.raises(UserError, match=message):
            load_task("jsonl", **given)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("model", [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello.\n\nIn French"}]),
        ("plain", "Be brief.\n\nSay hello.\n\nIn French"),
        (
            "chatml",
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nSay hello.\n\nIn French<|im_end|>\n"
            "<|im_start|>assistant\n",
        ),
        ("llama-2", "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nSay hello.\n\nIn French [/INST]"),
    ],
)
def test_templates(template: Any, expected: Any) -> None:
    assert render(template, [{"role": "user", "content": "Say hello."}], "In French", "Be brief.") == expected


def test_alpaca_is_the_published_text() -> None:
    one = [{"role": "user", "content": "Say hello."}]
    assert render("alpaca", one, None, None) == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nSay hello.\n\n### Response:\n"
    )
    assert render("alpaca", one, "In French", None) == (
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
        "response that appropriately completes the request.\n\n"
        "### Instruction:\nSay hello.\n\n### Input:\nIn French\n\n### Response:\n"
    )


def test_conversations_in_templates() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    assert render("llama-2", turns, None, None) == "[INST] a [/INST] b </s><s>[INST] c [/INST]"
    with pytest.raises(ValueError, match="template plain holds one question"):
        render("plain", turns, None, None)


def test_an_answer_ends_where_the_template_says(tmp_path: Path) -> None:
    task, item = only(tmp_path, {"prompt": "p", "answer": "blue"}, template="chatml")
    assert task.stop == "<|im_end|>" and task.grade(item, "blue<|im_end|>\n<|im_start|>user\nmore").correct
    task, item = only(tmp_path, {"prompt": "p", "answer": "blue"}, template="plain", stop="\n")
    assert task.stop == "\n"


def test_chatml_is_the_labs_own_template(tmp_path: Path) -> None:
    """The same tokens, whether the model's own template or the one by name is asked for."""
    tokenizer = load_model("lab").tokenizer()
    own, item = only(tmp_path, {"prompt": "What is two and two?", "answer": "4"})
    text = tokenizer.apply_chat_template(own.prompt(item), add_generation_prompt=True, tokenize=False)
    named, _ = only(tmp_path, {"prompt": "What is two and two?", "answer": "4"}, template="chatml")
    assert text == named.prompt(item)


GOOD = {"prompt": "p", "answer": "a"}
BAD: list[tuple[Any, str]] = [
    ("{", r"line 2: not JSON"),
    ('{"prompt": "q", "answer": "a"},', r"line 2: not JSON .*comma after the object\?"),
    ('{"prompt": "q", "answer": NaN}', r"line 2: not JSON \(NaN is no number\)"),
    ('{"prompt": "q", "answer": ' + "9" * 5000 + "}", r"line 2: not JSON \(a number of too many digits\)"),
    ('{"prompt": "q\\ud800", "answer": "a"}', r"line 2: .ud800 is half a character"),
    ("[1]", r"line 2: a list where"),
    ({"answer": "a"}, r"line 2: no column 'prompt' \(there is: answer\)"),
    ({"prompt": "q"}, r"line 2: no column 'answer'"),
    ({"prompt": "", "answer": "a"}, r"line 2: column 'prompt' holds ''"),
    ({"prompt": "q", "answer": None}, r"line 2: column 'answer' holds None"),
    ({"prompt": "q", "answer": []}, r"line 2: column 'answer' is an empty list"),
    ({"prompt": "q", "answer": True}, r"line 2: column 'answer' holds True"),
    ({"prompt": [{"role": "user"}], "answer": "a"}, r"line 2: prompt\[0\] is no message"),
    ({"prompt": [USER, TURN], "answer": "a"}, r"line 2: prompt ends with the turn of the assistant"),
    ({"messages": [USER]}, r"line 2: messages ends with the turn of the user"),
    ({"messages": [TURN]}, r"line 2: messages has no turn of the user"),
    ({"messages": "hello"}, r"line 2: column 'messages' holds 'hello'"),
    ({"instruction": "q"}, r"line 2: no column 'output' \(there is: instruction\)"),
    ({"prompt": "p", "answer": "b"}, r"line 2: it repeats line 1 \(the same question\)"),
    ({"prompt": "q", "chosen": "a", "rejected": "b"}, r"line 2: preferences .* are mixed"),
    ({"prompt": "q", "chosen": "a"}, r"line 2: no column 'rejected' \(there is: chosen, prompt\)"),
    ({"prompt": "q", "chosen": "a", "rejected": "a"}, r"line 2: chosen and rejected are the same"),
    ({"prompt": "q", "answer": "a", "completion": "b"}, r"line 2: its own grader does not accept the answer 'b'"),
]


def test_columns_of_any_name(tmp_path: Path) -> None:
    columns = {"prompt_column": "question", "answer_column": "gold"}
    task, item = only(tmp_path, {"question": "What is two and two?", "gold": 4, "messages": 1}, **columns)
    assert task.prompt(item) == [USER] and task.demonstration(item) == "4"
    usual, same = only(tmp_path, {"prompt": "What is two and two?", "answer": 4})
    assert item.id == same.id and usual.prompt(same) == [USER]
    task, item = only(tmp_path, {"q": "What is two and two?", "answer": ["Four.", "4"]}, prompt_column="q")
    assert task.grade(item, "4").correct
    pair = {"q": "What is two and two?", "chosen": "Four.", "rejected": "Five."}
    task, item = only(tmp_path, pair, prompt_column="q")
    assert isinstance(task, LikelihoodTask) and task.prompt(item) == [USER]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "q", "gold": "a"}, r"no column 'ask' \(there is: gold, question\).* prompt_column"),
        ({"ask": "q", "answer": "a"}, r"no column 'gold' beside the prompt \(there is: answer, ask\)"),
        ({"ask": "q", "gold": None}, r"column 'gold' holds None"),
        ({"ask": " ", "gold": "a"}, r"column 'ask' holds ' '"),
        ({"ask": [USER, TURN], "gold": "a"}, r"ask ends with the turn of the assistant"),
    ],
)
def test_bad_rows_are_told_in_the_users_names(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    write(tmp_path / "test.jsonl", row)
    with pytest.raises(UserError, match=rf"test\.jsonl, line 1: {message}"):
        load_task("jsonl", data=str(tmp_path), prompt_column="ask", answer_column="gold").items("test", 1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("my.csv", "prompt,answer\nq,007\n", r"my\.csv is no JSONL; convert it: (python -c .*)\."),
        ("my.json", json.dumps([{"prompt": "q", "answer": "007"}], indent=1), r"one JSON list.* it: (python -c .*)\."),
    ],
)
def test_other_formats_are_told_with_the_command_that_converts_them(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as error:
        load_task("jsonl", data=str(tmp_path / name))
    said = re.search(message, str(error.value))
    assert said is not None
    subprocess.run(said[1].replace("python", sys.executable, 1), shell=True, cwd=tmp_path, check=True)
    (made,) = tmp_path.glob("*.jsonl")
    ((item,),) = [
        found for split in ("train", "val", "test") if (found := load_task("jsonl", data=str(made)).items(split))
    ]
    assert item.data["answers"] == ["007"]


@pytest.mark.parametrize(("row", "message"), BAD)
def test_bad_rows_are_named_by_file_and_line(tmp_path: Path, row: Any, message: str) -> None:
    write(tmp_path / "test.jsonl", GOOD, row)
    with pytest.raises(UserError, match=rf"test\.jsonl, {message}"):
        load_task("jsonl", data=str(tmp_path)).items("test", 1)


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="-t data=FILE"):
        load_task("jsonl").items("test", 1)
    (tmp_path / "training.jsonl").write_text("")
    with pytest.raises(UserError, match=r"holds no train\.jsonl.* \(there is: training\.jsonl\)"):
        load_task("jsonl", data=str(tmp_path))
    (tmp_path / "test.jsonl").write_bytes(b'{"prompt": "\xff", "answer": "a"}\n')
    with pytest.raises(UserError, match=r"test\.jsonl, line 1: not UTF-8"):
        load_task("jsonl", data=str(tmp_path)).items("test", 1)
    (tmp_path / "test.jsonl").write_text("")
    with pytest.raises(UserError, match=r"test\.jsonl is empty"):
        load_task("jsonl", data=str(tmp_path)).items("test", 1)


def test_repetitions_are_named_across_files(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", {"prompt": "q", "answer": "a"}, {"id": 7, "prompt": "r", "answer": "a"})
    write(tmp_path / "test.jsonl", {"prompt": "s", "answer": "a"}, {"prompt": "q", "answer": "b"})
    with pytest.raises(UserError, match=r"test\.jsonl, line 2: this question also stands in train\.jsonl, line 1"):
        load_task("jsonl", data=str(tmp_path)).items("test", 1)
    write(tmp_path / "test.jsonl", {"id": "7", "prompt": "s", "answer": "a"})
    with pytest.raises(UserError, match=r"test\.jsonl, line 1: it repeats train\.jsonl, line 2 \(id 7\)"):
        load_task("jsonl", data=str(tmp_path)).items("test", 1)


def test_all_repetitions_are_counted_at_once(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", *({"prompt": f"q{n % 3}", "answer": "a"} for n in range(7)))
    said = r"line 4: it repeats line 1 \(the same question\); 4 lines repeat an earlier one: keep one of each\.$"
    with pytest.raises(UserError, match=said):
        load_task("jsonl", data=str(tmp_path)).items("test", 1)


def test_an_id_that_comes_twice_is_named(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", {"id": 7, **GOOD}, {"id": "7", "prompt": "q", "answer": "a"})
    with pytest.raises(UserError, match=r"test\.jsonl, line 2: it repeats line 1 \(id 7\)\.$"):
        load_task("jsonl", data=str(tmp_path)).items("test", 1)


def test_a_gold_answer_without_a_word_is_refused(tmp_path: Path) -> None:
    """SQuAD's normalising leaves nothing of it, so that every other text of that kind would be right."""
    write(tmp_path / "test.jsonl", GOOD | {"answer": "The."})
    with pytest.raises(UserError, match=r"line 1: its own grader does not accept the answer 'The\.'"):
        load_task("jsonl", data=str(tmp_path), grader="f1").items("test", 1)


def test_a_gold_answer_must_pass_its_grader(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", GOOD | {"answer": "7"}, {"prompt": "q", "answer": "seven"})
    with pytest.raises(UserError, match=r"line 2: its own grader does not accept the answer 'seven' \(no_answer\)"):
        load_task("jsonl", data=str(tmp_path), grader="numeric").items("test", 1)
    write(tmp_path / "test.jsonl", {"prompt": "q", "answer": "7", "completion": "three and four\nanswer: 7"})
    task = load_task("jsonl", data=str(tmp_path), grader="regex", pattern="answer: (.+)")
    item = task.items("test", 1)[0]
    assert task.demonstration(item).startswith("three") and task.grade(item, "answer: 7").correct


def test_a_single_file_is_split_by_the_question(tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {number}.", "answer": str(number)} for number in range(400)]
    one = load_task("jsonl", data=write(tmp_path / "a.jsonl", *rows))
    other = load_task("jsonl", data=write(tmp_path / "b.jsonl", *reversed(rows)))
    sizes = {split: len(one.items(split)) for split in ("train", "val", "test")}
    assert sum(sizes.values()) == 400 and 60 <= sizes["test"] <= 100 and 20 <= sizes["val"] <= 60
    for split in sizes:
        assert {item.id for item in one.items(split)} == {item.id for item in other.items(split)}


def preferences(tmp_path: Path, count: int = 12, **more: Any) -> str:
    """Questions with a chosen and a rejected answer, in three files."""
    for split in ("train", "val", "test"):
        rows = [
            {"prompt": f"{split} {number}", "chosen": f"{number} is fine", "rejected": f"{number} no", **more}
            for number in range(count)
        ]
        write(tmp_path / f"{split}.jsonl", *rows)
    return str(tmp_path)


def test_preferences_without_a_grader_are_scored_by_likelihoods(tmp_path: Path) -> None:
    task = load_task("jsonl", data=preferences(tmp_path))
    assert isinstance(task, LikelihoodTask) and task.offers == {"demonstrations", "preferences"}
    items = list(task.items("test", 4))
    handle = load_model("lab")
    engine = HFEngine(handle.model(), handle.tokenizer())
    found = engine.likelihoods([pair for item in items for pair in task.continuations(item)])
    for number, item in enumerate(items):
        chosen, rejected = found[2 * number : 2 * number + 2]
        grade = task.judge(item, [chosen, rejected])
        assert grade.correct == (chosen.logprob > rejected.logprob)
        assert grade.measures["margin"] == pytest.approx(chosen.logprob - rejected.logprob)
        assert task.judge(item, [rejected, chosen]).correct != grade.correct


def test_likelihoods_after_messages_are_those_after_their_text(tmp_path: Path) -> None:
    handle = load_model("lab")
    tokenizer = handle.tokenizer()
    engine = HFEngine(handle.model(), tokenizer)
    text = tokenizer.apply_chat_template([USER], add_generation_prompt=True, tokenize=False)
    assert engine.likelihoods([([USER], "Four.")]) == engine.likelihoods([(text, "Four.")])


def test_preferences_with_a_grader_are_answered(tmp_path: Path) -> None:
    task = load_task("jsonl", data=preferences(tmp_path), grader="exact")
    item = task.items("test", 1)[0]
    assert not isinstance(task, LikelihoodTask) and task.grade(item, task.demonstration(item)).correct
    assert task.offers == {"demonstrations", "verifier", "preferences"}
    assert task.preference(item) == ("0 is fine", "0 no")


def test_trl_conversations_without_a_prompt_column(tmp_path: Path) -> None:
    row = {"chosen": [USER, TURN], "rejected": [USER, {"role": "assistant", "content": "Five."}]}
    task, item = only(tmp_path, row)
    assert task.prompt(item) == [USER] and task.preference(item) == ("Four.", "Five.")
    other = [{"role": "user", "content": "else"}, TURN]
    write(tmp_path / "test.jsonl", {"chosen": [USER, TURN], "rejected": other})
    with pytest.raises(UserError, match="differ before their last turn"):
        load_task("jsonl", data=str(tmp_path))


def test_who_may_train_on_what(tmp_path: Path) -> None:
    pairs = load_task("jsonl", data=preferences(tmp_path / "p"))
    questions = load_task("jsonl", data=write(tmp_path / "q.jsonl", GOOD))
    for name in ("dpo", "ipo", "kto", "orpo", "simpo", "sft"):
        assert refusal(load_method(name), pairs) is None and refusal(load_method(name), questions) is None
    for name in ("grpo", "es", "rft"):
        assert refusal(load_method(name), questions) is None
        assert "needs verifier" in (refusal(load_method(name), pairs) or "")


class Court(BaseHTTPRequestHandler):
    """A judge that finds every answer with the word blue correct, and is busy now and then."""

    asked: ClassVar[list[dict[str, Any]]] = []
    answers: ClassVar[list[tuple[int, str]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Court.asked.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
        question = body["messages"][-1]["content"]
        answer = question.partition("<<<ANSWER\n")[2]
        code, said = Court.answers.pop(0) if Court.answers else (200, f"So.\n{'' if 'blue' in answer else 'IN'}CORRECT")
        content = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
        self.send_response(code)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def court() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Court)
    Court.asked, Court.answers = [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture
def judged(tmp_path: Path, court: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    monkeypatch.setenv("COURT_KEY", "secret")
    monkeypatch.setattr("tasks.graders.judge._PAUSE_SECONDS", 0.01)
    row = {"prompt": "Which colour?", "answer": "blue"}
    given = {"judge_url": court, "judge_model": "court", "judge_key": "COURT_KEY"}
    task, item = only(tmp_path, row, grader="judge", **given)
    return lambda text: task.grade(item, text)


def test_a_judge_is_asked(judged: Callable[[str], Any]) -> None:
    assert judged("It is blue.").correct and judged("It is red.").reason == "wrong"
    first = Court.asked[0]
    assert first["path"] == "/v1/chat/completions" and first["key"] == "Bearer secret" and first["temperature"] == 0
    said = first["messages"][-1]["content"]
    assert "Which colour?" in said and "Reference answer: blue" in said and "It is blue." in said
    judged("It is blue.")
    assert len(Court.asked) == 2 and judged("").reason == "empty" and len(Court.asked) == 2


def test_a_judge_must_be_clear(judged: Callable[[str], Any]) -> None:
    Court.answers = [(200, "CORRECT, I think"), (200, "**CORRECT**"), (200, "CORRECT\nor INCORRECT")]
    assert [judged(text).reason for text in ("a", "b", "c")] == ["judge_unclear", "ok", "judge_unclear"]


def test_a_busy_judge_is_asked_again_and_a_missing_one_stops_the_run(judged: Callable[[str], Any]) -> None:
    Court.answers = [(503, ""), (429, "")]
    assert judged("blue").correct and len(Court.asked) == 3
    Court.answers = [(401, "")]
    with pytest.raises(UserError, match=r"'court' at http://.* cannot be asked: it answers 401"):
        judged("blue again")
    Court.answers = [(500, "")] * 4
    with pytest.raises(UserError, match="answers 500"):
        judged("blue once more")


def test_a_method_without_anything_to_learn_from_is_refused_beforehand(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", GOOD)
    task = load_task("jsonl", data=str(tmp_path))
    with pytest.raises(UserError, match="jsonl has no val items in its data: add some"):
        task.items("val", 1)
    assert lacking(load_method("base"), task) is None
    for name in ("sft", "grpo", "es"):
        assert lacking(load_method(name), task) == "jsonl has no train items, training needs 1 or more."
    assert lacking(load_method("few-shot", shots=2), task) == "jsonl has no train items, the method needs 2 or more."
    write(tmp_path / "train.jsonl", {"prompt": "q", "answer": "a"})
    task = load_task("jsonl", data=str(tmp_path))
    assert lacking(load_method("sft"), task) is None
    assert lacking(load_method("few-shot", shots=2), task) == "jsonl has 1 train items, the method needs 2 or more."
    assert "without training problems" in str(lacking(load_method("sft"), load_task("math-500")))


def test_what_is_scored_by_likelihoods_is_not_answered_several_times(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", {"prompt": "q", "chosen": "a", "rejected": "b"})
    task = load_task("jsonl", data=str(tmp_path))
    for name in ("few-shot", "majority-vote", "best-of-n"):
        assert "is scored by likelihoods" in str(refusal(load_method(name), task))
