"""Documents and questions from files in SQuAD's format, and its two scores: exact match and F1 after normalising.

`{"data": [{"paragraphs": [{"context", "qas": [{"id", "question", "answers": [{"text"}], "is_impossible"}]}]}]}`
(Rajpurkar et al. 2016, arXiv 1606.05250; 2018, arXiv 1806.03822). A file is one split: train.json, and dev.json or
test.json as test; val is a tenth of the training documents by their hash. A question that cannot be answered has the
answer `unknown`; one that is asked twice about the same text, under two ids, is one item with all its answers.
Normalising drops case, ASCII punctuation, the articles and blanks; digits and letters stay.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.contracts import Item
from harness.errors import UserError
from tasks.facts.document import Document
from tasks.pool import content_id, split_of
from tasks.records import read_json

UNKNOWN = "unknown"
_MOST_CHARACTERS = 2000  # of an answer that is normalised
_VAL_SHARE = {"val": 0.1, "train": 0.9}
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def read_documents(place: Path) -> dict[str, list[Document]]:
    """Documents by split from a folder or a single file; UserError with file and place for what is wrong."""
    files = {"train": place / "train.json", "test": place / "test.json"}
    if place.is_file():
        files = {"train": place}
    elif not files["test"].exists():
        files["test"] = place / "dev.json"
    if not any(file.exists() for file in files.values()):
        raise UserError(f"{place} holds no train.json, test.json or dev.json in SQuAD's format.")
    places: dict[str, tuple[str, str]] = {}
    texts: dict[str, str] = {}
    items: dict[str, dict[str, Item]] = {}
    ids: dict[str, str] = {}
    for name, file in files.items():
        if not file.exists():
            continue
        for where, text, questions in _paragraphs(file):
            document_id = content_id("squad", text)
            split = split_of("squad", document_id, _VAL_SHARE) if name == "train" else name
            if places.setdefault(document_id, (split, where))[0] != split:
                raise UserError(f"{where}: this document is in {places[document_id][1]} too, which is another split.")
            texts[document_id] = text
            there = items.setdefault(document_id, {})
            for question in questions:
                item = _item(where, split, document_id, text, question)
                _check_id(where, question, ids)
                there[item.id] = _joined(there.get(item.id), item)
    found: dict[str, list[Document]] = {"train": [], "val": [], "test": []}
    for document_id, (split, _) in places.items():
        found[split].append(Document(document_id, texts[document_id], tuple(items[document_id].values())))
    return found


def normalised(text: str) -> str:
    """Lower case without punctuation, articles and superfluous blanks."""
    return " ".join(_ARTICLES.sub(" ", without_punctuation(text)).split())


def without_punctuation(text: str) -> str:
    """Lower case without punctuation and superfluous blanks."""
    return " ".join(text[:_MOST_CHARACTERS].lower().translate(_NO_PUNCTUATION).split())


def f1(answer: str, gold: str) -> float:
    """Harmonic mean of precision and recall over normalised words; empty answers match only each other."""
    mine, theirs = normalised(answer).split(), normalised(gold).split()
    shared = sum((Counter(mine) & Counter(theirs)).values())
    if not mine or not theirs:
        return float(mine == theirs)
    return 2 * shared / (len(mine) + len(theirs))


def _paragraphs(file: Path) -> Iterator[tuple[str, str, list[Any]]]:
    """Place, text and questions of every paragraph."""
    content = read_json(file)
    articles = content.get("data") if isinstance(content, dict) else None
    if not isinstance(articles, list) or not articles:
        raise UserError(f'{file}: no list of articles under "data", so it is not in SQuAD\'s format.')
    for number, article in enumerate(articles):
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list):
            raise UserError(f'{file}, data[{number}]: no list of "paragraphs".')
        for index, paragraph in enumerate(paragraphs):
            where = f"{file}, data[{number}].paragraphs[{index}]"
            text = paragraph.get("context") if isinstance(paragraph, dict) else None
            if not isinstance(text, str) or not text.strip():
                raise UserError(f'{where}: no text under "context".')
            questions = paragraph.get("qas")
            if not isinstance(questions, list) or not questions:
                raise UserError(f'{where}: no list of questions under "qas".')
            yield where, text, questions


def _check_id(where: str, question: Any, ids: dict[str, str]) -> None:
    """UserError if another question has this one's id."""
    identity = question.get("id")
    if identity is None:
        return
    if str(identity) in ids:
        raise UserError(f"{where}: the id {identity!r} is already that of a question in {ids[str(identity)]}.")
    ids[str(identity)] = where


def _joined(one: Item | None, other: Item) -> Item:
    """The same question asked twice: all answers to it."""
    if one is None:
        return other
    answers = dict.fromkeys([*one.data["answers"], *other.data["answers"]])
    return Item(one.id, one.split, {**one.data, "answers": list(answers)})


def _item(where: str, split: str, document_id: str, text: str, question: Any) -> Item:
    asked = question.get("question") if isinstance(question, dict) else None
    if not isinstance(asked, str) or not asked.strip():
        raise UserError(f'{where}: a question without text under "question".')
    answers = question.get("answers", [])
    texts = [answer.get("text") for answer in answers if isinstance(answer, dict)] if isinstance(answers, list) else []
    if question.get("is_impossible"):
        texts = [UNKNOWN]
    if not texts or not all(isinstance(one, str) and normalised(one) for one in texts):
        raise UserError(f'{where}: the question {asked[:60]!r} has no answer with a "text" that says something.')
    data = {"document_id": document_id, "document": text, "question": asked, "answers": list(dict.fromkeys(texts))}
    return Item(content_id("squad", text, asked), split, data)
