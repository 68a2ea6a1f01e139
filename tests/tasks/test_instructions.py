"""Tasks described in words: what each level holds out, what is graded, folders of natural instructions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rouge_score.rouge_scorer import RougeScorer

from harness import load_task
from harness.errors import UserError
from tasks.corpus import instructions as corpus
from tasks.instructions import arithmetic
from tasks.instructions.rouge import rouge_l
from tasks.instructions.task import LEVELS

FOLDER = str(Path(__file__).parent / "data" / "natural_instructions")


def ids(level: str, split: str, n: int = 120) -> set[str]:
    return {item.data["task_id"] for item in load_task("instructions", level=level).items(split, n)}


@pytest.mark.parametrize("level", [level for level in LEVELS if level != "arithmetic"])
def test_inputs_are_held_out_from_pre_training(level: str) -> None:
    task = load_task("instructions", level=level)
    for split in ("train", "val", "test"):
        for item in task.items(split, 60):
            letters = item.data["input"].replace(" ", "")
            assert corpus.held_out(f"instructions:{letters}") == (split != "train")
            selector, _, mapping = item.data["task_id"].partition("+")
            assert item.data["answers"] == [" ".join(corpus.Task(selector, mapping).solve(letters))]


def test_held_out_tasks_are_never_trained_on() -> None:
    held, trained = {str(one) for one in corpus.HELD_OUT}, {str(one) for one in corpus.TRAIN}
    for level in LEVELS[:-1]:
        assert ids(level, "train") <= trained
        assert ids(level, "test") <= (trained if level in ("seen", "phrasing", "frame", "examples") else held)


def test_phrasings_and_frames_are_held_out() -> None:
    def openings(level: str, split: str) -> set[str]:
        return {item.data["description"] for item in load_task("instructions", level=level).items(split, 150)}

    assert not openings("phrasing", "train") & openings("phrasing", "test")
    assert any("and it means" in text or "consider only" in text for text in openings("frame", "test"))
    assert not any("and it means" in text for text in openings("frame", "train"))


def test_examples_stand_in_place_of_a_description() -> None:
    task = load_task("instructions", level="examples")
    for item in task.items("val", 10):
        prompt = task.prompt(item)
        assert item.data["description"] not in prompt and prompt.count("Input:") == len(item.data["shots"]) + 1
        assert item.data["input"] not in [given for given, _ in item.data["shots"]]


def test_examples_of_tasks_that_were_held_out() -> None:
    task = load_task("instructions", level="combination-examples")
    held = {str(one) for one in corpus.HELD_OUT}
    for split in ("val", "test"):
        for item in task.items(split, 20):
            assert item.data["task_id"] in held and len(item.data["shots"]) >= 2
    assert not held & {item.data["task_id"] for item in task.items("train", 200)}


def test_without_context_only_the_input_is_asked() -> None:
    (item,) = load_task("instructions").items("val", 1)
    assert load_task("instructions", context="none").prompt(item) == f"Input: {item.data['input']}\nOutput:"


ANSWERS = {
    "sum": "21", "largest": "6", "smallest": "1", "sorted": "1 2 3 4 5 6", "falling": "6 5 4 3 2 1",
    "plus one": "4 2 7 6 3 5", "doubled": "6 2 12 10 4 8", "even": "3", "odd": "3", "ends": "7", "spread": "5",
    "reversed": "4 2 5 6 1 3",
}  # fmt: skip


def test_arithmetic_is_what_it_says() -> None:
    assert {name: arithmetic.solve(name, (3, 1, 6, 5, 2, 4)) for name in arithmetic.NAMES} == ANSWERS


def test_arithmetic_holds_out_rows_operations_and_wordings() -> None:
    task = load_task("instructions", level="arithmetic")
    rows = {split: {item.data["input"] for item in task.items(split, 200)} for split in ("train", "val", "test")}
    assert not rows["train"] & rows["val"] and not rows["val"] & rows["test"] and not rows["train"] & rows["test"]
    assert not ids("arithmetic", "train") & set(arithmetic.HELD_OUT) and set(arithmetic.HELD_OUT) <= ids(
        "arithmetic", "test"
    )
    worded = {split: {item.data["description"] for item in task.items(split, 200)} for split in ("train", "test")}
    assert not worded["train"] & worded["test"]


def test_each_task_comes_with_its_descriptions() -> None:
    described = load_task("instructions", level="both").described("test", 200)
    assert {one.id for one in described} == ids("both", "test", 200)
    assert all(one.descriptions and all(item.data["task_id"] == one.id for item in one.items) for one in described)


def test_a_folder_of_natural_instructions() -> None:
    task = load_task("instructions", data=FOLDER)
    assert [one.id for one in task.described("test")] == ["task003_first_letter"]
    seen = [one.id for split in ("train", "val", "test") for one in task.described(split)]
    assert sorted(name[:7] for name in seen) == ["task001", "task002", "task003", "task004"]
    (item, *_) = task.items("test")
    assert task.prompt(item) == f" Give the first letter of the word.\nInput: {item.data['input']}\nOutput:"
    assert task.grade(item, " " + item.data["answers"][0].upper() + ".").correct
    near = task.grade(item, "the letter q")
    assert not near.correct and set(near.measures) == {"exact", "rouge_l"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "line 1: not JSON"),
        ("[]", "a list where a JSON object"),
        ('{"Instances": []}', '"Definition"'),
        ('{"Definition": ["d"], "Instances": []}', '"Instances"'),
        ('{"Definition": ["d"], "Instances": [{"output": ["x"]}]}', r'Instances\[0\]: no text under "input"'),
        ('{"Definition": ["d"], "Instances": [{"input": "i", "output": []}]}', r'Instances\[0\]: no text'),
        (
            '{"Definition":"d","Instances":[{"input": "i", "output": "x"}, {"input": "i", "output": "y"}]}',
            r'Instances\[1\]: it has the same input as Instances\[0\]',
        ),
        (
            '{"Definition":"d","Instances":[{"id":1,"input":"i","output":"x"},{"id":1,"input":"j","output":"y"}]}',
            r'Instances\[1\]: it has the same id as Instances\[0\]',
        ),
    ],
)  # fmt: skip
def test_a_bad_file_is_named_with_the_place(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "task009.json").write_text(content)
    with pytest.raises(UserError, match=said) as error:
        load_task("instructions", data=str(tmp_path)).items("train")
    assert "task009.json" in str(error.value)


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [("A", "a.", "the"), ("?", " ? ", "!"), ("x\ny", "x y", "x"), ("The end", "the end", "end")],
)
def test_outputs_of_little_text_are_told_apart(gold: str, right: str, wrong: str, tmp_path: Path) -> None:
    """Articles and punctuation may be the whole answer."""
    task = {"Definition": "d", "Instances": [{"input": "i", "output": [gold]}]}
    (tmp_path / "task009.json").write_text(json.dumps(task))
    loaded = load_task("instructions", data=str(tmp_path))
    (item,) = [item for split in ("train", "val", "test") for item in loaded.items(split)]
    assert loaded.grade(item, loaded.demonstration(item)).correct
    assert loaded.grade(item, right).correct and not loaded.grade(item, wrong).correct


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no task files"):
        load_task("instructions", data=str(tmp_path)).items("train")


@pytest.mark.parametrize(
    ("one", "other"), [("a b c", "a c"), ("", "x"), ("the cat sat", "the cat sat"), ("x y", "y x")]
)
def test_rouge_l_is_the_packages(one: str, other: str) -> None:
    assert rouge_l(one, other) == pytest.approx(RougeScorer(["rougeL"]).score(other, one)["rougeL"].fmeasure)
    assert rouge_l("the cat sat", "the cat sat") == 1.0 and rouge_l("", "x") == 0.0
    assert rouge_l("a b c", "a c") == pytest.approx(0.8)


@pytest.mark.parametrize(("level", "only"), [("both", "ends+mirror"), ("arithmetic", "spread")])
def test_one_underlying_task_alone(level: str, only: str) -> None:
    """What a single task's own adapter is trained and scored on; held-out tasks have training items then too."""
    task = load_task("instructions", level=level, only=only)
    items = {split: task.items(split, 40) for split in ("train", "val", "test")}
    assert {item.data["task_id"] for there in items.values() for item in there} == {only}
    assert not {item.id for item in items["train"]} & {item.id for item in items["test"]}
    assert [one.id for one in task.described("train", 40)] == [only]
    with pytest.raises(UserError, match="Did you mean"):
        load_task("instructions", level=level, only=f"{only}s")


def test_one_task_of_a_folder_alone() -> None:
    every = load_task("instructions", data=FOLDER).described("train")
    only = max(every, key=lambda one: len(one.items))
    task = load_task("instructions", data=FOLDER, only=only.id)
    ids = {split: {item.id for item in task.items(split)} for split in ("train", "val", "test")}
    assert set.union(*ids.values()) == {item.id for item in only.items}
    assert sum(map(len, ids.values())) == len(only.items)
    with pytest.raises(UserError, match="No task in the folder"):
        load_task("instructions", data=FOLDER, only="nothing").items("train")
