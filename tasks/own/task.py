"""The task `jsonl`: your own questions and answers, or preferences, in a file, without code.

`data` is a folder with train.jsonl, test.jsonl and maybe val.jsonl, or a single file. What is not given is split off by
the hash of the question: val is a tenth of train; of a single file a fifth is test. Columns: `tasks.own.rows`.
Templates: `tasks.own.templates`. Graders: `tasks.graders`. Preferences without a grader are scored by likelihoods: an
item is right if the model finds the chosen answer likelier than the rejected one, summed over its tokens, as DPO's
reward does without its reference. Everything is read and every gold answer graded before a model is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.contracts import Grade, Item, Likelihood, Offer, Prompt
from harness.errors import UserError, unknown
from harness.parameters import DataPath
from harness.registry import task
from tasks.graders import Name, Settings, make_grader
from tasks.own.rows import Columns, Row, read_row
from tasks.own.templates import STOPS, Template, render
from tasks.pool import Fixed, content_id, split_of
from tasks.records import read_jsonl, refuse_duplicates

SPLITS = ("train", "val", "test")
_FILE_SHARES = {"test": 0.2, "val": 0.1, "train": 0.7}
_TRAIN_SHARES = {"val": 0.1, "train": 0.9}
Reward = Literal["correct", "score"]


@task("jsonl", version=1)
class Own:
    """Your own questions and answers, or preferences, from JSONL files, with a grader by name."""

    name: str
    version: int

    def __new__(cls, data: str | None = None, grader: str | None = None, **given: Any) -> Own:
        """Preferences without a grader are a task of their own kind."""
        columns = Columns(given.get("prompt_column"), given.get("answer_column"))
        preferences = data is not None and grader is None and _is_preferences(Path(data), columns)
        return super().__new__(Preferred if preferences else Own)

    def __init__(
        self,
        data: Annotated[str | None, DataPath(), "JSONL file, or folder with train.jsonl and test.jsonl"] = None,
        grader: Annotated[Name | None, "how answers are graded; exact, or likelihoods for preferences"] = None,
        template: Annotated[
            Template, "how a question becomes a prompt; model is the model's own chat template"
        ] = "model",
        system: Annotated[str | None, "system message of conversations that have none"] = None,
        reward: Annotated[Reward, "what training sees: 0 or 1, or the grader's score"] = "correct",
        pattern: Annotated[str | None, "grader regex: captures the answer"] = None,
        threshold: Annotated[float | None, "graders f1, rouge-l, bleu: right from this score on; 0.5"] = None,
        judge_url: Annotated[str | None, "grader judge: address up to /v1 of an OpenAI-compatible server"] = None,
        judge_model: Annotated[str | None, "grader judge: name of the model there"] = None,
        judge_key: Annotated[str | None, "grader judge: environment variable that holds its key"] = None,
        max_new_tokens: Annotated[int, Field(ge=1), "most tokens of an answer"] = 256,
        stop: Annotated[str | None, "where an answer ends; the template's own end if not given"] = None,
        prompt_column: Annotated[str | None, "your name of the column with the question; prompt"] = None,
        answer_column: Annotated[str | None, "your name of the column with the answer; answer"] = None,
    ) -> None:
        self.columns = Columns(prompt_column, answer_column)
        self.data, self.template, self.system, self.reward = data, template, system, reward
        self.max_new_tokens = max_new_tokens
        self.stop = stop if stop is not None else STOPS[template]
        self.grader = make_grader(grader or "exact", Settings(pattern, threshold, judge_url, judge_model, judge_key))
        self.offers: frozenset[Offer] = frozenset({"demonstrations", "verifier"})
        if data is not None and _is_preferences(Path(data), self.columns):
            self.offers |= {"preferences"}
        self._read: Fixed | None = None

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first `n` items; UserError for an unknown split, data that are missing or wrong, or too few of them."""
        if split not in SPLITS:
            raise unknown("split of jsonl", split, SPLITS)
        if self.data is None:
            raise UserError("jsonl needs your data: -t data=FILE.jsonl, or a folder with train.jsonl and test.jsonl.")
        if self._read is None:
            self._read = Fixed(self.name, self._load(Path(self.data)))
        return self._read.items(split, n)

    def prompt(self, item: Item) -> Prompt:
        """The question in this task's template."""
        return render(self.template, item.data["messages"], item.data["context"], self.system)

    def grade(self, item: Item, completion: str) -> Grade:
        """By the task's grader, against every gold answer; `reason` is the grader's."""
        text = completion if self.stop is None else completion.partition(self.stop)[0]
        grade = self.grader.grade(item.data["messages"][-1]["content"], item.data["answers"], text)
        if self.reward == "score":
            return grade
        return Grade(grade.correct, float(grade.correct), grade.well_formed, grade.reason, grade.parsed, grade.measures)

    def demonstration(self, item: Item) -> str:
        """The worked answer of the row if it has one, else its first gold answer in the form that the grader reads."""
        return item.data["completion"] or self.grader.demonstration(item.data["answers"][0])

    def preference(self, item: Item) -> tuple[str, str]:
        """The chosen and the rejected answer of an item; only where `offers` has 'preferences'."""
        return item.data["answers"][0], item.data["rejected"]

    def _load(self, place: Path) -> dict[str, list[Item]]:
        files = _files(place)
        shares = _FILE_SHARES if "file" in files else _TRAIN_SHARES if "val" not in files else {"train": 1.0}
        rows: list[tuple[Row, str]] = []
        for name, file in files.items():
            for record in read_jsonl(file):
                row = read_row(record, self.columns)
                rows.append((row, split_of("jsonl", row.question, shares) if name in ("file", "train") else name))
        _check(rows)
        found: dict[str, list[Item]] = {split: [] for split in SPLITS}
        for row, split in rows:
            found[split].append(self._item(row, split))
        return found

    def _item(self, row: Row, split: str) -> Item:
        content = {"messages": row.messages, "context": row.context, "answers": row.answers}
        item = Item(_identity(row), split, {**content, "completion": row.completion, "rejected": row.rejected})
        try:
            self.prompt(item)
        except ValueError as error:
            raise row.record.fail(str(error)) from None
        self._try_gold(row, item)
        return item

    def _try_gold(self, row: Row, item: Item) -> None:
        if not self.grader.checks_gold:
            return
        grade = self.grade(item, self.demonstration(item))
        if not grade.correct:
            shown = self.demonstration(item)
            raise row.record.fail(
                f"its own grader does not accept the answer {shown!r:.80} ({grade.reason}); give a column "
                "'completion' with the answer as the grader reads it, or another grader"
            )


class Preferred(Own):
    """Preferences, scored by likelihoods."""

    def __init__(self, data: str | None = None, **given: Any) -> None:
        super().__init__(data, **given)
        self.offers = frozenset({"demonstrations", "preferences"})

    def continuations(self, item: Item) -> Sequence[tuple[Prompt, str]]:
        """The chosen and the rejected answer after the prompt."""
        return [(self.prompt(item), answer) for answer in self.preference(item)]

    def judge(self, item: Item, likelihoods: Sequence[Likelihood]) -> Grade:
        """Right if the chosen answer is likelier; the measure `margin` is by how much, in nats."""
        chosen, rejected = likelihoods
        margin = chosen.logprob - rejected.logprob
        reason = "ok" if margin > 0 else "rejected_is_likelier"
        return Grade(margin > 0, float(margin > 0), True, reason, None, {"margin": margin})

    def grade(self, item: Item, completion: str) -> Grade:
        """By equality with the chosen answer: what is written counts for nothing here."""
        same = completion.strip() == item.data["answers"][0].strip()
        reason = "ok" if same else "wrong" if completion.strip() else "empty"
        return Grade(same, float(same), bool(completion.strip()), reason, completion.strip()[:2000] or None)

    def demonstration(self, item: Item) -> str:
        """The chosen answer."""
        return str(item.data["answers"][0])

    def _try_gold(self, row: Row, item: Item) -> None:
        """There is no grader that could refuse it."""


def _files(place: Path) -> dict[str, Path]:
    """The files by split; a single one as `file`."""
    if place.is_file():
        return {"file": place}
    found = {split: place / f"{split}.jsonl" for split in SPLITS if (place / f"{split}.jsonl").exists()}
    if not found:
        there = ", ".join(sorted(path.name for path in place.iterdir())[:5]) or "nothing"
        raise UserError(
            f"{place} holds no train.jsonl, val.jsonl or test.jsonl (there is: {there}): give the files these names, "
            "or give one file, which is split."
        )
    return found


def _check(rows: Sequence[tuple[Row, str]]) -> None:
    """UserError naming the row that is of another kind, comes twice, or stands in another split too."""
    preferences = rows[0][0].rejected is not None
    seen: dict[str, tuple[str, Row]] = {}
    for row, split in rows:
        if (row.rejected is not None) != preferences:
            raise row.record.fail("preferences (chosen, rejected) and questions with answers are mixed in one task")
        other_split, other = seen.setdefault(row.question, (split, row))
        if other_split != split:
            where = f"{other.record.file.name}, line {other.record.line}"
            raise row.record.fail(f"this question also stands in {where}, which is of another split")
    named = [row.record for row, _ in rows if row.record.data.get("id") is not None]
    refuse_duplicates(named, [str(record.data["id"]) for record in named], "id")
    refuse_duplicates([row.record for row, _ in rows], [_identity(row) for row, _ in rows])


def _identity(row: Row) -> str:
    return content_id("jsonl", row.question, *((*row.answers, row.rejected) if row.rejected is not None else ()))


def _is_preferences(place: Path, columns: Columns) -> bool:
    """By the first row alone; all are read, and must be of one kind, with the items."""
    file = next(iter(_files(place).values()))
    return read_row(read_jsonl(file)[0], columns).rejected is not None
