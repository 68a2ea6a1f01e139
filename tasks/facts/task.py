"""The facts task: a document, a question about it, a short answer; in context, from memory, or as a needle.

Generated documents (levels F0 to F6) tell key-value and short relational facts in words. Documents of val and test hold
only facts that no pre-training passage told (`tasks.corpus.facts.is_held_out`), those of train none of these. With
`data` the documents are those of SQuAD-format files. `context="none"` leaves the document out of the prompt: then only
what a method has put into the weights can answer. `documents` gives each document with all its questions. Where some
questions are about nothing told, accuracy on these (`absent`) and on the others (`told`) stand beside it as measures.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from harness.contracts import Grade, Item, Offer, Prompt
from harness.errors import UserError, unknown
from harness.parameters import DataPath
from harness.registry import task
from tasks.corpus import facts as corpus
from tasks.facts.document import Document
from tasks.facts.levels import LEVELS, Level, changed
from tasks.facts.squad import f1, normalised, read_documents
from tasks.pool import Fixed, Pool, content_id, split_of

SPLITS = ("train", "val", "test")
_SIZES = {"train": 2000, "val": 500, "test": 2000}
_HELD_SHARES = {"test": 0.7, "val": 0.3}
_NOISE_WORDS = 7  # words of a sentence beside the point, on average
Context = Literal["document", "none"]
Lengths = Literal["equal", "up-to"]


@task(
    "facts",
    version=1,
    source="after Doc-to-LoRA (Charakorn et al. 2026) and SQuAD (Rajpurkar et al. 2016, arXiv 1606.05250)",
    levels=tuple(LEVELS),
    lab=("lab-reader", "F4"),
)
class Facts:
    """Answer a question about a document of facts."""

    name: str
    version: int
    offers: frozenset[Offer] = frozenset({"demonstrations", "verifier", "documents"})
    stop: str | None = "\n"

    def __init__(
        self,
        level: Annotated[str, "F0 to F3 short documents, F4 to F6 needles in one, two and four windows"] = "F3",
        context: Annotated[Context, "whether the document stands in the prompt"] = "document",
        windows: Annotated[
            float | None, "length of the haystack in windows of about 945 tokens, over the level's"
        ] = None,
        lengths: Annotated[
            Lengths, "haystacks of training documents: as long as val's, or of any length up to it"
        ] = "equal",
        data: Annotated[str | None, DataPath(), "SQuAD-format file, or folder with train.json and test.json"] = None,
        facts: Annotated[str | None, "facts a document tells, 4 or 1-4, over the level's"] = None,
        absent: Annotated[float | None, "share of questions about nothing told, over the level's"] = None,
        train_windows: Annotated[float | None, "length of training haystacks in windows, over val's"] = None,
        train_facts: Annotated[str | None, "facts that a training document tells, 4 or 1-4, over val's"] = None,
        train_absent: Annotated[float | None, "share of training questions about nothing told, over val's"] = None,
    ) -> None:
        if level not in LEVELS:
            raise unknown("level of facts", level, LEVELS)
        self.level = changed(LEVELS[level], windows, facts, absent)
        self.context, self.data = context, data
        self.max_new_tokens = 12 if data is None else 32
        if train_absent == 1:
            raise UserError("train_absent=1 leaves nothing that a document tells to be asked: give a share below 1.")
        self._pools = {}
        for split in SPLITS:
            trained = split == "train"
            here = changed(self.level, train_windows, train_facts, train_absent) if trained else self.level
            setting = f"{level} {here.words}"
            if here != LEVELS[level]._replace(words=here.words):
                setting += f" {here.low}-{here.high} {here.absent}"
            drawn, often = lengths == "up-to" and trained, train_absent is not None and trained
            setting += " up-to" * drawn + " often" * often
            draw = partial(_draw, here, split, drawn, often)
            self._pools[split] = Pool(self.name, self.version, setting, draw, _split, _SIZES)
        self._read: dict[str, list[Document]] | None = None

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first question of each document (every question of files); UserError for an unknown split."""
        if split not in SPLITS:
            raise unknown("split of facts", split, SPLITS)
        if self.data is not None:
            every = {
                name: [item for one in documents for item in one.items] for name, documents in self._files().items()
            }
            return Fixed(self.name, every).items(split, n)
        return self._pools[split].items(split, n)

    def documents(self, split: str, n: int | None = None) -> list[Document]:
        """The first `n` documents with all their questions; generated items are the first question of each."""
        if self.data is not None:
            if split not in SPLITS:
                raise unknown("split of facts", split, SPLITS)
            return self._files()[split][:n]
        return [_whole(item) for item in self.items(split, n)]

    def prompt(self, item: Item) -> Prompt:
        """The document and the question, or the question alone."""
        return self.prompt_with(item, item.data["document"] if self.context == "document" else "")

    def text(self, item: Item) -> str:
        """The document."""
        return str(item.data["document"])

    def subject(self, item: Item) -> Sequence[str]:
        """The document's identity."""
        return [str(item.data["document_id"])]

    def prompt_with(self, item: Item, text: str) -> Prompt:
        """The document `text` (or none) and the question."""
        if text and not text.startswith(" "):
            text = f" {text}"
        return corpus.ask(corpus.Document((), text), (item.data["question"], "")).prompt

    def grade(self, item: Item, completion: str) -> Grade:
        """The first line, stripped, is the answer; files are graded by SQuAD's exact match, F1 beside it."""
        answer = completion.lstrip().partition("\n")[0].strip()
        if not answer:
            return Grade(False, 0.0, False, "empty", None)
        if self.data is not None:
            golds = item.data["answers"]
            right = any(normalised(answer) == normalised(gold) for gold in golds)
            measures = {"exact": float(right), "f1": max(f1(answer, gold) for gold in golds)}
            return Grade(right, float(right), True, "ok" if right else "wrong", answer[:200], measures)
        gold = item.data["answers"][0]
        right = answer == gold
        reason = "ok" if right else "wrong" if answer != corpus.UNKNOWN else "said_unknown"
        part = {"absent" if gold == corpus.UNKNOWN else "told": float(right)} if self.level.absent else {}
        return Grade(right, float(right), True, reason, answer[:200], part)

    def demonstration(self, item: Item) -> str:
        """The answer, on one line."""
        return f" {' '.join(item.data['answers'][0].split())}"

    def _files(self) -> dict[str, list[Document]]:
        if self._read is None:
            self._read = read_documents(Path(str(self.data)))
        return self._read


def _draw(
    level: Level, split: str, any_length: bool, often: bool, rng: random.Random
) -> tuple[str, dict[str, Any]] | None:
    """A document of `split` with a question; the data holds all further questions too.

    The first question is about nothing told in a share of `level.absent`; with `often`, so is that share of all.
    """
    number = rng.randint(level.low, level.high)
    noise = round(level.words / _NOISE_WORDS)
    if any_length:
        noise = rng.randint(0, noise)
    drawn = corpus.document(rng, number, noise, probe=split != "train")
    asked = [corpus.question(rng, drawn, fact) for fact in rng.sample(drawn.facts, number)]
    if rng.random() < level.absent:
        asked.insert(0, corpus.question(rng, drawn, None))
    if often:
        wanted = level.absent * (number - 1 + level.absent) / (1 - level.absent)  # beyond what is first, on average
        asked += [corpus.question(rng, drawn, None) for _ in range(int(wanted + rng.random()))]
    if split != "train" and split_of("facts", drawn.text, _HELD_SHARES) != split:
        return None
    question, answer = asked[0]
    data = {
        "document_id": content_id("facts", drawn.text),
        "document": drawn.text,
        "question": question,
        "answers": [answer],
        "further": [list(one) for one in asked[1:]],
        "split": split,
    }
    return f"{drawn.text}|{question}", data


def _split(key: str, data: dict[str, Any]) -> str:
    return str(data["split"])


def _whole(item: Item) -> Document:
    """The document of an item with all its questions, this one first."""
    text, items = item.data["document"], [item]
    for question, answer in item.data["further"]:
        data = {**item.data, "question": question, "answers": [answer], "further": []}
        items.append(Item(content_id("facts", f"{text}|{question}"), item.split, data))
    return Document(item.data["document_id"], text, tuple(items))
