"""Conciseness: the paper's reward, the check beside it, and splits by fact."""

from __future__ import annotations

import pytest

from harness import load_task
from tasks.conciseness.questions import QUESTIONS


def test_the_reward_is_minus_the_distance_of_the_lengths() -> None:
    task = load_task("conciseness")
    (item,) = task.items("val", 1)
    gold = item.data["answer"]
    same_length = "z" * len(gold)
    assert task.grade(item, f" {gold}").reward == task.grade(item, same_length).reward == 0
    assert not task.grade(item, same_length).correct  # any short text wins the reward, and is wrong
    assert task.grade(item, gold + "!!!").reward == -3 and task.grade(item, "").reward == -len(gold)
    assert task.grade(item, gold + "!!!").measures == {"characters": len(gold) + 3.0, "excess": 3.0}


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("{a}", True),
        (" {a}.", True),
        ("{A}\nmore", True),
        ("It is {a}", False),
        ("{a} {a}", False),
        ("", False),
        ("no", False),
    ],
)
def test_correct_is_the_answer_and_nothing_else(text: str, right: bool) -> None:
    task = load_task("conciseness")
    for item in task.items("test", 5):
        gold = item.data["answer"]
        assert task.grade(item, text.format(a=gold, A=gold.upper())).correct == right


def test_no_fact_is_in_two_splits_and_the_paper_trains_on_two_questions() -> None:
    task = load_task("conciseness")
    facts = {question: fact.asked[0] for fact in QUESTIONS for question in fact.asked}
    by_split = {
        split: {facts[item.data["question"]] for item in task.items(split)} for split in ("train", "val", "test")
    }
    assert not by_split["train"] & by_split["val"] and not by_split["val"] & by_split["test"]
    assert not by_split["train"] & by_split["test"] and sum(map(len, by_split.values())) == len(QUESTIONS)
    paper = load_task("conciseness", level="paper")
    assert len(paper.items("train")) == 2 and list(paper.items("test")) == list(task.items("test"))


def test_training_may_be_paid_for_correctness_instead() -> None:
    task = load_task("conciseness", reward="correct")
    (item,) = task.items("val", 1)
    assert task.grade(item, item.data["answer"]).reward == 1 and task.grade(item, "zzz").reward == 0
