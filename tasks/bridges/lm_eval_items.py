"""The items of an opened lm-eval task: its test set as lm-eval asks it, and what may be trained and tuned on.

test is lm-eval's test set, or its validation set where it has no test set: in its order, with its repetitions, with
the worked examples that lm-eval draws. train are its training documents. val are its validation documents where these
are not the test already, else a tenth of the training documents by the hash of their content. A question that stands
in test is left out of val and train, one of val out of train, a repetition out of both.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

from harness.contracts import Item
from harness.errors import UserError, unknown
from tasks.bridges.lm_eval_source import FEWSHOT_SEED
from tasks.pool import content_id, split_of

_VAL_SHARE = {"val": 0.1, "train": 0.9}


class Items:
    """The items of one task, made as far as they are asked for."""

    def __init__(self, task: Any, name: str) -> None:
        self.task, self.name = task, name
        self._test_documents = list(task.eval_docs)
        self._test: list[Item] = []
        self._keys_of_test: set[str] = set()
        self._sampler = getattr(task, "sampler", None)
        self._lists: dict[str, list[tuple[str, Any]]] = {}
        self._made: dict[str, list[Item]] = {"train": [], "val": []}

    def items(self, split: str, n: int | None) -> Sequence[Item]:
        """The first `n` items; UserError for a split that the task does not have, or for more than there are."""
        if split == "test":
            available = len(self._test_documents)
        elif split in ("train", "val"):
            available = len(self._list(split))
            if not available:
                raise UserError(f"{self.name} has no {split} items: {self._why_none(split)}.")
        else:
            raise unknown(f"split of {self.name}", split, ("train", "val", "test"))
        if n is not None and n > available and split != "train":
            raise UserError(f"{self.name} has {available} {split} items, {n} were asked for: ask for fewer.")
        wanted = available if n is None else min(n, available)
        return self._tested(wanted) if split == "test" else self._drawn(split, wanted)

    def _tested(self, wanted: int) -> list[Item]:
        """In order, because each question's worked examples follow from how often lm-eval has drawn before."""
        for document in self._test_documents[len(self._test) : wanted]:
            if not self._test and self._sampler is not None:
                self._sampler.set_rnd(FEWSHOT_SEED)
            key = identity = self._key(document)
            repetition = 0
            while identity in self._keys_of_test:
                repetition += 1
                identity = content_id(key, repetition)
            self._keys_of_test.add(identity)
            self._test.append(Item(identity, "test", {"doc": document, "context": self._context(document)}))
        return self._test[:wanted]

    def _drawn(self, split: str, wanted: int) -> list[Item]:
        made = self._made[split]
        sampler = self._sampler
        for key, document in self._list(split)[len(made) : wanted]:
            if sampler is not None:
                self.task.sampler = _WithoutTheQuestion(sampler, document, f"{self.name}/{split}/{key}")
            try:
                made.append(Item(key, split, {"doc": document, "context": self._context(document)}))
            finally:
                if sampler is not None:
                    self.task.sampler = sampler
        return made[:wanted]

    def _list(self, split: str) -> list[tuple[str, Any]]:
        """Key and document of every item of train or val."""
        if not self._lists:
            seen = {self._key(document) for document in self._test_documents}
            training = self._new(self.task.training_docs() if self.task.has_training_docs() else [], seen)
            if self.task.has_test_docs() and self.task.has_validation_docs():
                val = list(self._new(self.task.validation_docs(), seen))
                train = list(training)
            else:
                parts: dict[str, list[tuple[str, Any]]] = {"train": [], "val": []}
                for key, document in training:
                    parts[split_of(self.name, key, _VAL_SHARE)].append((key, document))
                val, train = parts["val"], parts["train"]
            self._lists = {"train": train, "val": val}
        return self._lists[split]

    def _new(self, documents: Any, seen: set[str]) -> Iterator[tuple[str, Any]]:
        for document in documents:
            key = self._key(document)
            if key not in seen:
                seen.add(key)
                yield key, document

    def _why_none(self, split: str) -> str:
        if not self.task.has_training_docs():
            return "lm-eval names no training documents for it"
        return "all of its questions are in the test set too" if split == "train" else "its training documents are few"

    def _key(self, document: Any) -> str:
        """Stands for the question: the text that is asked; without one, what is compared or scored."""
        text = self.task.doc_to_text(document)
        if isinstance(text, str) and text.strip():
            return content_id(self.name, " ".join(text.split()))
        choices = self.task.doc_to_choice(document) if self.task.config.doc_to_choice is not None else None
        return content_id(self.name, json.dumps([choices or self.task.doc_to_target(document)], default=str))

    def _context(self, document: Any) -> Any:
        """lm-eval's own prompt: description, worked examples and question; several where the choices are contexts."""
        count = self.task.config.num_fewshot
        try:
            return self.task.fewshot_context(document, num_fewshot=count, gen_prefix=self.task.doc_to_prefix(document))
        except (AssertionError, ValueError) as error:
            reason = " ".join(str(error).split()).removeprefix("Error: ")
            raise UserError(f"{self.name}: no prompt with {count} worked examples can be made: {reason}") from None


class _WithoutTheQuestion:
    """lm-eval's sampler of worked examples for one question that may itself be among those it draws from."""

    def __init__(self, sampler: Any, document: Any, stream: str) -> None:
        self.sampler, self.document, self.stream = sampler, document, stream

    def sample(self, n: int, eval_doc: Any = None, **options: Any) -> Any:
        """`n` examples that are not the question, drawn for this question alone."""
        before, self.sampler.rnd = self.sampler.rnd, random.Random(self.stream)
        try:
            return self.sampler.sample(n=n, eval_doc=self.document, **options)
        finally:
            self.sampler.rnd = before
