"""What a mathematics benchmark is (where it lies, how its columns are called) and how its files are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from harness.contracts import Item
from harness.errors import UserError
from tasks.mathematics.answer import find_answer, same_answer
from tasks.pool import content_id, split_of
from tasks.records import Record, read_jsonl, refuse_duplicates

_TRAIN_SHARES = {"val": 0.1, "train": 0.9}


class Benchmark(NamedTuple):
    """A data set on the Hub with the columns that hold problem, answer, solution and groups to report by."""

    dataset: str
    config: str | None
    split: str
    problem: str
    answer: str | None
    """None: the answer is the last box of the solution."""
    solution: str | None = None
    groups: tuple[str, ...] = ()
    whole_numbers: bool = False


def read_benchmark(benchmark: Benchmark, place: Path | None) -> list[Record]:
    """Its records: from a JSONL file (or `test.jsonl` in a folder), else from the Hub."""
    if place is not None:
        return read_jsonl(place / "test.jsonl" if place.is_dir() else place, {benchmark.problem: str})
    try:
        from datasets import load_dataset

        rows = load_dataset(benchmark.dataset, benchmark.config, split=benchmark.split)
    except Exception as error:  # noqa: BLE001 -- datasets raises many kinds; all mean that it cannot be had
        reason = str(error).strip().split("\n")[0][:200]
        raise UserError(
            f"{benchmark.dataset} cannot be had from the Hub ({reason}): give a local JSONL file, -t data=FILE."
        ) from None
    return [Record(Path(benchmark.dataset), number, dict(row)) for number, row in enumerate(rows, start=1)]


def make_items(task: str, benchmark: Benchmark, records: list[Record], split: str | None) -> list[Item]:
    """Items in order, all of `split` or (None) of train and val by the hash of the problem; golds are checked."""
    items = [_item(task, benchmark, record, split) for record in records]
    refuse_duplicates(records, [item.id for item in items])
    return items


def _item(task: str, benchmark: Benchmark, record: Record, split: str | None) -> Item:
    problem = _text(record, benchmark.problem)
    solution = _text(record, benchmark.solution) if benchmark.solution in record.data else None
    if benchmark.answer is not None and benchmark.answer in record.data:
        answer = _text(record, benchmark.answer)
    elif solution is not None:
        answer = find_answer(solution).text or ""
    else:
        answer = _text(record, benchmark.answer or str(benchmark.solution))
    answer = answer.strip().strip("$").strip()
    if benchmark.whole_numbers and not (answer.isascii() and answer.isdigit()):
        raise record.fail(f"the answer {answer[:40]!r} is not a whole number")
    if not answer or find_answer(f"\\boxed{{{answer}}}").text != answer:
        raise record.fail(f"the answer {answer[:60]!r} would be rejected by its own grader")
    if not same_answer(answer, answer).same:
        raise record.fail(f"the answer {answer[:60]!r} would be rejected by its own grader")
    where = split or split_of("mathematics", problem, _TRAIN_SHARES)
    data: dict[str, Any] = {"problem": problem, "answer": answer, "solution": solution}
    data["groups"] = {name: str(record.data[name]) for name in benchmark.groups if record.data.get(name) is not None}
    return Item(content_id("mathematics", problem), where, data)


def _text(record: Record, column: str | None) -> str:
    value = record.data.get(str(column))
    if isinstance(value, list) and len(value) == 1:  # OlympiadBench keeps one answer in a list
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        there = ", ".join(sorted(record.data)) or "none"
        raise record.fail(f"no text in column {column!r} (there is: {there})")
    return str(value)
