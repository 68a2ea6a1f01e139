"""The GSM8K task: its splits, prompts and worked answers on a small folder, and every mistake in data by its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness import load_task
from harness.errors import UserError
from tasks.gsm8k.rows import clean
from tests.contracts.fixtures import DATA

FOLDER = str(DATA / "gsm8k")
ROW = {"question": "How many are 2 and 3?", "answer": "They are 2+3=<<2+3=5>>5.\n#### 5"}


def rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / "gsm8k" / f"{name}.jsonl").read_text().splitlines()]


def folder(place: Path, train: list[Any] | bytes, test: list[Any] | bytes | None = None) -> str:
    """A folder with these rows; the test file has one row of its own if none are given."""
    for name, content in (("train", train), ("test", test or [{**ROW, "question": "And 4 and 1?"}])):
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content).encode()
        (place / f"{name}.jsonl").write_bytes(content)
    return str(place)


def test_gold_is_right_by_both_rules_in_every_form() -> None:
    for parameters in ({}, {"style": "chat"}, {"annotations": True}, {"answer": "flexible"}):
        task = load_task("gsm8k", data=FOLDER, **parameters)
        for split, rows_there in (("train", 17), ("val", 13), ("test", 20)):
            grades = [task.grade(item, task.demonstration(item)) for item in task.items(split)]
            assert len(grades) == rows_there
            assert all(g.correct and g.measures == {"strict": 1.0, "flexible": 1.0} for g in grades)


def test_the_splits_hold_every_row_once_and_val_is_taken_from_train() -> None:
    task = load_task("gsm8k", data=FOLDER)
    found = {split: [item.data["question"] for item in task.items(split)] for split in ("train", "val", "test")}
    assert found["test"] == [row["question"] for row in rows("test")]
    assert sorted(found["train"] + found["val"]) == sorted(row["question"] for row in rows("train"))


def test_a_split_depends_on_the_question_alone(tmp_path: Path) -> None:
    moved = folder(tmp_path, rows("train")[::-1][:25], rows("test"))
    task, other = load_task("gsm8k", data=FOLDER), load_task("gsm8k", data=moved)
    where = {item.id: item.split for split in ("train", "val") for item in task.items(split)}
    for split in ("train", "val"):
        assert all(where[item.id] == split for item in other.items(split))
    first, second = rows("train")[0], {**rows("train")[0], "answer": "Another way.\n#### 37"}
    (tmp_path / "a").mkdir()
    a, b = folder(tmp_path, [first, *rows("train")[1:]]), folder(tmp_path / "a", [second, *rows("train")[1:]])
    ids = [{item.id for item in load_task("gsm8k", data=place).items("val")} for place in (a, b)]
    assert ids[0] == ids[1]


def test_the_plain_prompt_and_its_answer() -> None:
    task = load_task("gsm8k", data=FOLDER)
    item = task.items("test", 1)[0]
    assert task.prompt(item) == f"Question: {rows('test')[0]['question']}\nAnswer:"
    assert task.stop == "Question:"
    assert task.demonstration(item) == " There are 7*16=112 bottles.\nWhole are 112-9=103.\n#### 103"
    assert load_task("gsm8k", data=FOLDER, annotations=True).demonstration(item) == " " + rows("test")[0]["answer"]


def test_the_chat_prompt() -> None:
    task = load_task("gsm8k", data=FOLDER, style="chat")
    item = task.items("test", 1)[0]
    (turn,) = task.prompt(item)
    assert turn["role"] == "user" and turn["content"].startswith(item.data["question"]) and "####" in turn["content"]
    assert task.stop is None and task.demonstration(item).startswith("There are")


@pytest.mark.parametrize("style", ["plain", "chat"])
def test_shots_are_worked_training_items_left_out_of_train(style: str) -> None:
    task, without = (load_task("gsm8k", data=FOLDER, style=style, shots=shots) for shots in (5, 0))
    shown = {item.id: item for item in without.items("train")}
    for item in task.items("train"):
        del shown[item.id]
    assert len(shown) == 5
    assert list(task.items("val")) == list(without.items("val"))
    prompt = task.prompt(task.items("test", 1)[0])
    if style == "plain":
        assert prompt.count("Question:") == prompt.count("Answer:") == 6 and prompt.count("####") == 5
        assert prompt.endswith(without.prompt(without.items("test", 1)[0]))
        parts = prompt.split("\n\n")[:5]
        assert sorted(parts) == sorted(without.prompt(i) + without.demonstration(i) for i in shown.values())
    else:
        assert [turn["role"] for turn in prompt] == ["user", "assistant"] * 5 + ["user"]
        assert prompt[-1:] == without.prompt(without.items("test", 1)[0])
    assert "<<" not in str(prompt)


def test_the_shots_do_not_depend_on_the_order_of_the_file(tmp_path: Path) -> None:
    turned = folder(tmp_path, rows("train")[::-1], rows("test"))
    one, other = (load_task("gsm8k", data=place, shots=5) for place in (FOLDER, turned))
    assert one.prompt(one.items("test", 1)[0]) == other.prompt(other.items("test", 1)[0])


def test_too_many_shots_are_refused(tmp_path: Path) -> None:
    task = load_task("gsm8k", data=folder(tmp_path, rows("train")[:4]), shots=5)
    with pytest.raises(UserError, match="shots=5"):
        task.items("test", 1)


def test_the_rule_decides_what_is_correct() -> None:
    strict, flexible = (load_task("gsm8k", data=FOLDER, answer=rule) for rule in ("strict", "flexible"))
    item = strict.items("test", 1)[0]
    for text, by_strict, by_flexible in (("#### 103", True, True), ("It is 103.", False, True), ("104", False, False)):
        for task, right in ((strict, by_strict), (flexible, by_flexible)):
            grade = task.grade(item, text)
            assert grade.correct == right and grade.reward == float(right)
            assert grade.measures == {"strict": float(by_strict), "flexible": float(by_flexible)}


def test_run_on_text_is_not_read_in_the_plain_style() -> None:
    task = load_task("gsm8k", data=FOLDER)
    item = task.items("test", 1)[0]
    assert task.grade(item, " So\n#### 103\n\nQuestion: 5?\nAnswer: 5\n#### 5").correct
    assert not task.grade(item, "Question: 5?\nAnswer:\n#### 103").correct


def test_annotations_are_taken_out_and_nothing_else() -> None:
    assert clean("a 2<3 <<2*3=6>>6 < b\n<<x") == "a 2<3 6 < b\n<<x"
    assert clean("a <<1\n2>> b") == "a <<1\n2>> b"


OTHER = {"question": "How many are 5 and 4?", "answer": "#### 9"}
MISTAKES: list[tuple[str, list[Any] | bytes, int, str]] = [
    ("no gold", [OTHER, {**ROW, "answer": "They are 5."}], 2, "no '####'"),
    ("gold no number", [{**ROW, "answer": "#### five"}], 1, "is no number"),
    ("gold empty", [OTHER, {**ROW, "answer": "so\n####"}], 2, "is no number"),
    ("gold with an exponent", [{**ROW, "answer": "#### 5e3"}], 1, "is no number"),
    ("gold behind the stop", [{**ROW, "answer": "Question: what?\n#### 5"}], 1, "grader reads None"),
    ("gold in a thought", [{**ROW, "answer": "<think>\n#### 5"}], 1, "grader reads None"),
    ("no answer", [OTHER, {"question": "x"}], 2, "no column 'answer'"),
    ("no question", [{"answer": "#### 5", "q": 1}], 1, "no column 'question'"),
    ("empty question", [{**ROW, "question": "  "}], 1, "question is empty"),
    ("answer a number", [{**ROW, "answer": 5}], 1, "not text"),
    ("twice", [ROW, OTHER, {**ROW, "question": " How  many are 2 and 3? "}], 3, "repeats line 1"),
    ("not UTF-8", json.dumps(ROW).encode() + b'\n{"question": "\xff"}\n', 2, "not UTF-8"),
    ("not JSON", b'{"question": "x", \n', 1, "not JSON"),
    ("a list", b"[1]\n", 1, "list"),
]


@pytest.mark.parametrize("side", ["train", "test"])
@pytest.mark.parametrize(("content", "line", "problem"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_mistake_in_the_data_is_named_by_file_and_line(
    tmp_path: Path, content: list[Any] | bytes, line: int, problem: str, side: str
) -> None:
    good = [{**ROW, "question": f"How many are {n} and 0?", "answer": f"#### {n}"} for n in range(3)]
    place = folder(tmp_path, content, good) if side == "train" else folder(tmp_path, good, content)
    with pytest.raises(UserError) as caught:
        load_task("gsm8k", data=place).items("test", 1)
    assert f"{side}.jsonl, line {line}" in str(caught.value) and problem in str(caught.value)


def test_a_question_in_both_files_is_named_with_both_places(tmp_path: Path) -> None:
    place = folder(tmp_path, [OTHER, ROW], [{**ROW, "answer": "#### 5"}])
    with pytest.raises(UserError, match=r"test\.jsonl, line 1: .*train\.jsonl, line 2"):
        load_task("gsm8k", data=place).items("train", 1)


def test_an_empty_or_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.jsonl is empty"):
        load_task("gsm8k", data=folder(tmp_path, b"\n")).items("train", 1)
    (tmp_path / "test.jsonl").unlink()
    folder(tmp_path, [ROW])
    (tmp_path / "test.jsonl").unlink()
    with pytest.raises(UserError, match=r"test\.jsonl cannot be read"):
        load_task("gsm8k", data=str(tmp_path)).items("train", 1)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        load_task("gsm8k", data=str(tmp_path / "nowhere")).items("test", 1)


def test_without_the_hub_the_user_is_told_of_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("the Hub does not answer")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    task = load_task("gsm8k")
    with pytest.raises(UserError, match=r"the Hub does not answer.*-t data=DIR"):
        task.items("test", 1)


def test_rows_of_the_hub_are_the_same_items(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def loaded(*given: object, revision: str) -> dict[str, list[dict[str, str]]]:
        asked.append((*given, revision))
        return {"train": rows("train"), "test": rows("test")}

    monkeypatch.setattr(datasets, "load_dataset", loaded)
    hub, local = load_task("gsm8k", revision="abc"), load_task("gsm8k", data=FOLDER)
    for split in ("train", "val", "test"):
        assert list(hub.items(split)) == list(local.items(split))
    assert asked == [("openai/gsm8k", "main", "abc")]
