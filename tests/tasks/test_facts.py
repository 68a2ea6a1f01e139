"""Documents and their questions: held-out facts, haystacks, documents whole, SQuAD's files and scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import load_task
from harness.errors import UserError
from tasks.corpus import facts as corpus
from tasks.facts.levels import LEVELS, WINDOW
from tasks.facts.squad import f1, normalised

SQUAD = str(Path(__file__).parent / "data" / "squad")


def test_every_fact_of_a_document_is_of_its_side() -> None:
    for split, held in (("train", False), ("val", True), ("test", True)):
        for document in load_task("facts", level="F1").documents(split, 20):
            for item in document.items:
                question, answer = item.data["question"], item.data["answers"][0]
                facts = [
                    corpus.Fact(name, key, answer)
                    for name, relation in corpus.RELATIONS.items()
                    for key in relation.keys
                    if question in {form.format(k=key) for form in relation.asked}
                ]
                assert facts and all(corpus.is_held_out(fact) == held for fact in facts), (split, question)


@pytest.mark.parametrize("level", sorted(LEVELS))
def test_levels_have_their_facts_and_lengths(level: str) -> None:
    plan, task = LEVELS[level], load_task("facts", level=level)
    for document in task.documents("test", 15):
        known = [item for item in document.items if item.data["answers"][0] != corpus.UNKNOWN]
        assert plan.low <= len(known) <= plan.high
        words = len(document.text.split())
        assert abs(words - plan.words) < 0.15 * plan.words + 8 * plan.high
        assert all(item.data["document_id"] == document.id for item in document.items)
        assert all(item.data["answers"][0] in document.text for item in known)
        assert len({item.id for item in document.items}) == len(document.items)


def test_a_haystack_has_the_length_that_is_asked_for() -> None:
    for windows in (0.25, 1, 3):
        (item,) = load_task("facts", level="F4", windows=windows).items("val", 1)
        assert len(item.data["document"].split()) == pytest.approx(windows * WINDOW, abs=30 + 0.1 * windows * WINDOW)
    with pytest.raises(UserError, match="windows"):
        load_task("facts", windows=-1)


def test_facts_and_absent_questions_are_asked_for_in_numbers() -> None:
    task = load_task("facts", level="F0", facts="1-4", absent=0.3)
    documents = task.documents("val", 200)
    told = [[item for item in one.items if item.data["answers"] != [corpus.UNKNOWN]] for one in documents]
    assert {len(items) for items in told} == {1, 2, 3, 4}
    share = sum(one.items[0].data["answers"] == [corpus.UNKNOWN] for one in documents) / len(documents)
    assert share == pytest.approx(0.3, abs=0.1)
    assert {len(one.items) for one in load_task("facts", level="F1", facts="3").documents("val", 10)} == {3}
    of_level = load_task("facts", level="F0", facts="2", absent=0.0).items("val", 5)
    assert [item.id for item in of_level] == [item.id for item in load_task("facts", level="F0").items("val", 5)]


@pytest.mark.parametrize("facts", ["0", "4-1", "some", "1-101", "-3", "1 - 4"])
def test_what_is_no_number_of_facts_is_refused(facts: str) -> None:
    with pytest.raises(UserError, match="is no number of facts: give one from 1 to 100, or a range such as 1-4"):
        load_task("facts", facts=facts)


def test_a_share_is_a_share() -> None:
    with pytest.raises(UserError, match=r"A share of 1.5 absent questions is not possible"):
        load_task("facts", absent=1.5)


def test_the_first_question_of_a_document_is_the_item() -> None:
    task = load_task("facts", level="F2")
    assert [document.items[0] for document in task.documents("val", 10)] == list(task.items("val", 10))


def test_from_memory_the_document_is_not_in_the_prompt() -> None:
    (item,) = load_task("facts", level="F1").items("val", 1)
    whole, alone = load_task("facts").prompt(item), load_task("facts", context="none").prompt(item)
    assert item.data["document"] in whole and whole.endswith(alone) and item.data["document"] not in alone


@pytest.mark.parametrize(
    ("text", "right"),
    [(" {a}", True), ("{a}\nQuestion:", True), ("  {a}  ", True), ("{a}.", False), ("it is {a}", False), ("", False)],
)
def test_the_first_line_is_the_answer(text: str, right: bool) -> None:
    task = load_task("facts", level="F1")
    (item,) = task.items("val", 1)
    assert task.grade(item, text.format(a=item.data["answers"][0])).correct == right


def test_squads_files_are_documents_with_questions() -> None:
    task = load_task("facts", data=SQUAD)
    documents = {split: task.documents(split) for split in ("train", "val", "test")}
    assert len(documents["train"]) + len(documents["val"]) == 18 and len(documents["test"]) == 6 and documents["val"]
    item = documents["test"][0].items[1]
    river = item.data["answers"][0]
    grade = task.grade(item, f" The {river.upper()}!\nmore")
    assert grade.correct and grade.measures == {"exact": 1.0, "f1": 1.0}
    partly = task.grade(item, f"beside the {river}")
    assert not partly.correct and partly.measures["f1"] == pytest.approx(2 / 3)
    impossible = documents["test"][0].items[2]
    assert task.grade(impossible, " unknown").correct and not task.grade(impossible, " Rembrandt").correct
    assert item.data["document"] in task.prompt(item)
    assert all(task.grade(one, task.demonstration(one)).correct for d in documents["train"] for one in d.items)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "line 1: not JSON"),
        (b'{"data": []}', "SQuAD's format"),
        (b"\xff{}", "not UTF-8"),
        (b'{"data": [{"paragraphs": [{"qas": []}]}]}', r'data\[0\].paragraphs\[0\]: no text under "context"'),
        (b'{"data": [{"paragraphs": [{"context": "x"}]}]}', 'no list of questions under "qas"'),
        (b'{"data": [{"paragraphs": [{"context": "x", "qas": [{"question": "q"}]}]}]}', "has no answer"),
        (b'{"data": [{"paragraphs": [{"context": "x", "qas": [{"answers": []}]}]}]}', 'without text under "question"'),
        (
            b'{"data": [{"paragraphs": [{"context": "x", "qas": [{"question": "q", "answers": [{"text": "the"}]}]}]}]}',
            "says something",
        ),
    ],
)  # fmt: skip
def test_a_bad_file_is_named_with_the_place(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "train.json").write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        load_task("facts", data=str(tmp_path)).items("train")
    assert str(tmp_path / "train.json") in str(error.value)


def squad(*questions: dict[str, Any]) -> str:
    return json.dumps({"data": [{"paragraphs": [{"context": "x is y", "qas": list(questions)}]}]})


def test_an_id_that_comes_twice_is_refused(tmp_path: Path) -> None:
    asked = {"id": "7", "question": "x?", "answers": [{"text": "y"}]}
    (tmp_path / "test.json").write_text(squad(asked, {**asked, "question": "who?"}))
    with pytest.raises(UserError, match=r"data\[0\]\.paragraphs\[0\]: the id '7' is already that of a question in"):
        load_task("facts", data=str(tmp_path)).items("test")


def test_a_question_asked_twice_is_one_item_with_all_answers(tmp_path: Path) -> None:
    asked = {"id": "7", "question": "x?", "answers": [{"text": "y"}]}
    (tmp_path / "test.json").write_text(squad(asked, {**asked, "id": "8", "answers": [{"text": "why"}]}))
    (item,) = load_task("facts", data=str(tmp_path)).items("test")
    assert item.data["answers"] == ["y", "why"]


def test_an_answer_of_two_lines_is_written_on_one(tmp_path: Path) -> None:
    (tmp_path / "test.json").write_text(squad({"question": "x?", "answers": [{"text": "y or\n z"}]}))
    task = load_task("facts", data=str(tmp_path))
    (item,) = task.items("test")
    assert task.demonstration(item) == " y or z" and task.grade(item, task.demonstration(item)).correct


def test_a_document_in_two_splits_is_refused(tmp_path: Path) -> None:
    text = (Path(SQUAD) / "train.json").read_text()
    (tmp_path / "train.json").write_text(text)
    (tmp_path / "test.json").write_text(json.dumps({"data": [json.loads(text)["data"][0]]}))
    with pytest.raises(UserError, match="another split"):
        load_task("facts", data=str(tmp_path)).items("test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no train\.json"):
        load_task("facts", data=str(tmp_path / "empty")).items("test")


def independent_f1(one: str, other: str) -> float:
    """By multisets, written another way."""
    mine, theirs = normalised(one).split(), normalised(other).split()
    if not mine or not theirs:
        return 1.0 if mine == theirs else 0.0
    shared = sum(min(mine.count(word), theirs.count(word)) for word in set(mine))
    if shared == 0:
        return 0.0
    precision, recall = shared / len(mine), shared / len(theirs)
    return 2 * precision * recall / (precision + recall)


@given(st.text("ab thean.,", max_size=40), st.text("ab thean.,", max_size=40))
def test_f1_agrees_with_another_way_to_count(one: str, other: str) -> None:
    assert f1(one, other) == pytest.approx(independent_f1(one, other))


def test_normalising_is_squads() -> None:
    assert normalised(" The  Quick, brown-fox! an A the ") == "quick brownfox"
    assert normalised("Theatre anatomy") == "theatre anatomy"


def test_training_documents_of_any_length_up_to_val_s() -> None:
    """Only training documents differ; those of val and test are the same as ever."""
    fixed, drawn = (load_task("facts", level="F0", windows=0.1, lengths=lengths) for lengths in ("equal", "up-to"))
    lengths = [len(document.text.split()) for document in drawn.documents("train", 60)]
    longest = max(len(document.text.split()) for document in fixed.documents("train", 20))
    assert min(lengths) < 25 and 0.8 * longest < max(lengths) < 1.25 * longest
    assert len(set(lengths)) > 25
    assert drawn.documents("val", 10) == fixed.documents("val", 10)


def test_questions_about_nothing_told_are_counted_apart() -> None:
    task = load_task("facts", level="F2")
    kinds = {"absent": 0, "told": 0}
    for item in task.items("val", 60):
        absent = item.data["answers"] == [corpus.UNKNOWN]
        kind = "absent" if absent else "told"
        kinds[kind] += 1
        assert task.grade(item, task.demonstration(item)).measures == {kind: 1.0}
        assert task.grade(item, " nobody").measures == {kind: 0.0}
    assert min(kinds.values()) > 3
    assert not load_task("facts", level="F0").grade(load_task("facts", level="F0").items("val", 1)[0], "x").measures


def test_training_documents_have_a_length_and_a_share_of_absent_questions_of_their_own() -> None:
    """Every question of a training document counts for its share; val and test are the same as ever."""
    plain = load_task("facts", level="F0", facts="1-4", absent=0.15, windows=1.0)
    other = load_task("facts", level="F0", facts="1-4", absent=0.15, windows=1.0, train_windows=0.1, train_absent=0.3)
    assert other.items("test", 5) == plain.items("test", 5) and other.items("val", 5) == plain.items("val", 5)
    read = other.documents("train", 400)
    words = [len(document.text.split()) for document in read]
    assert max(words) < 0.2 * WINDOW < min(len(document.text.split()) for document in plain.documents("train", 5))
    answers = [item.data["answers"] == [corpus.UNKNOWN] for document in read for item in document.items]
    first = [document.items[0].data["answers"] == [corpus.UNKNOWN] for document in read]
    assert 0.27 < sum(answers) / len(answers) < 0.33 and 0.23 < sum(first) / len(first) < 0.37
    with pytest.raises(UserError, match="below 1"):
        load_task("facts", level="F0", train_absent=1.0)


def test_training_documents_tell_a_number_of_facts_of_their_own() -> None:
    plain, other = load_task("facts", level="F0"), load_task("facts", level="F0", train_facts="3-8")
    assert other.items("test", 5) == plain.items("test", 5) and other.items("val", 5) == plain.items("val", 5)
    told = [len(document.items) for document in other.documents("train", 200)]
    assert set(told) == set(range(3, 9))
    with pytest.raises(UserError, match="'8-3' is no number of facts"):
        load_task("facts", level="F0", train_facts="8-3")
