"""The rows of GSM8K: a folder with train.jsonl and test.jsonl in the original format, or the Hub's openai/gsm8k.

A row is a `question` and an `answer` that works it out and ends in `#### N`. Every row is checked: a gold that the
grader itself does not read, a question that stands twice and a question in both files are named by file and line.
Val is a tenth of the training questions, by their hash, and never in train.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.contracts import Item
from harness.errors import UserError
from tasks.gsm8k.answer import numeric_answer, read_number, same_number
from tasks.pool import content_id, split_of
from tasks.records import Record, read_jsonl, refuse_duplicates

HUB, CONFIG = "openai/gsm8k", "main"
_HELD_OUT = {"val": 0.1, "train": 0.9}
_COLUMNS: dict[str, type | tuple[type, ...]] = {"question": str, "answer": str}
_ANNOTATION = re.compile(r"<<[^<>\n]*>>")


def read_splits(folder: Path) -> dict[str, list[Item]]:
    """The items of a folder, in the order of its files; UserError names what is wrong with it."""
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: give data=DIR, a folder with train.jsonl and test.jsonl.")
    return splits_of(*(read_jsonl(folder / f"{name}.jsonl", _COLUMNS) for name in ("train", "test")))


def load_splits(revision: str) -> dict[str, list[Item]]:
    """The items of the Hub's dataset; UserError if it cannot be had."""
    try:
        from datasets import load_dataset

        found: Any = load_dataset(HUB, CONFIG, revision=revision)
    except Exception as error:
        raise UserError(
            f"{HUB} (revision {revision}) cannot be had from the Hub: {str(error)[:200]}. Give its two files instead: "
            "data=DIR (on the command line -t data=DIR), a folder with train.jsonl and test.jsonl."
        ) from error
    sides = []
    for name in ("train", "test"):
        place = Path(f"{HUB}/{CONFIG}/{name}")
        sides.append([Record(place, number, dict(row)) for number, row in enumerate(found[name], start=1)])
    return splits_of(*sides)


def splits_of(train: Sequence[Record], test: Sequence[Record]) -> dict[str, list[Item]]:
    """The items of both files, checked and split."""
    splits: dict[str, list[Item]] = {"train": [], "val": [], "test": []}
    first: dict[str, Record] = {}
    for records, is_train in ((train, True), (test, False)):
        identities = [content_id("gsm8k", " ".join(record.data["question"].split())) for record in records]
        refuse_duplicates(records, identities)
        for record, identity in zip(records, identities, strict=True):
            if identity in first:
                there = first[identity]
                raise record.fail(f"its question stands in {there.file}, line {there.line}, too: take it out of one")
            split = split_of("gsm8k", identity, _HELD_OUT) if is_train else "test"
            splits[split].append(Item(identity, split, _checked(record)))
        first |= dict(zip(identities, records, strict=True))
    return splits


def clean(answer: str) -> str:
    """A worked answer without its calculator annotations, such as <<48/2=24>>."""
    return _ANNOTATION.sub("", answer)


def _checked(record: Record) -> dict[str, Any]:
    question, answer = record.data["question"].strip(), record.data["answer"].strip()
    if not question:
        raise record.fail("the question is empty")
    if "####" not in answer:
        raise record.fail("the answer has no '####' with the gold number after it")
    gold = answer.rpartition("####")[2].strip()
    if read_number(gold) is None:
        raise record.fail(f"the gold answer {gold[:40]!r} after '####' is no number")
    for text in (answer, clean(answer)):
        found = numeric_answer(text, "strict", "Question:")
        if not same_number(found.text, gold):
            raise record.fail(f"the grader reads {found.text!r} in the answer, not its gold {gold[:40]!r}")
    return {"question": question, "answer": answer, "gold": gold}
