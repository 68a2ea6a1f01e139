"""MATH-500, AIME, AMC, Minerva, OlympiadBench: free answers in `\\boxed{}`, graded by math-verify in its own process.

These are benchmarks: their problems are test items. Training and validation problems come from `train`, a JSONL file
with the columns problem and answer (or solution, whose last box counts), such as MATH's training set; a problem that
also stands in the benchmark is refused. Names of the data sets on the Hub and their columns are as their cards give
them; where they cannot be reached, `data` is a JSONL file with the same columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from harness.contracts import Grade, Item, Offer, Prompt
from harness.errors import UserError, unknown
from harness.parameters import DataPath
from harness.registry import task
from tasks.mathematics.answer import find_answer, same_answer
from tasks.mathematics.benchmark import Benchmark, make_items, read_benchmark
from tasks.pool import Fixed
from tasks.records import read_jsonl

Style = Literal["chat", "plain"]
Data = Annotated[str | None, DataPath(), "JSONL file with the benchmark's columns; from the Hub if not given"]
Train = Annotated[str | None, DataPath(), "JSONL file of training problems: problem and answer, or solution"]
Asked = Annotated[Style, "a user message, or plain text"]
_TRAINING = Benchmark("", None, "train", "problem", "answer", "solution")
_REQUEST = "Solve the problem step by step and put the final answer into \\boxed{}."


class Mathematics:
    """Problems with an answer in closed form."""

    name: str
    version: int
    benchmark: Benchmark
    offers: frozenset[Offer] = frozenset({"demonstrations", "verifier"})
    max_new_tokens = 2048
    stop: str | None = None

    def __init__(self, style: Asked = "chat", data: Data = None, train: Train = None) -> None:
        self.style, self.data, self.train = style, data, train
        self._read: Fixed | None = None

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first `n` problems; UserError for an unknown split, missing data, or more test items than there are."""
        if split not in ("train", "val", "test"):
            raise unknown(f"split of {self.name}", split, ("train", "val", "test"))
        if split != "test" and self.train is None:
            raise UserError(f"{self.name} is a benchmark without training problems: give some, -t train=FILE.jsonl.")
        if self._read is None:
            self._read = self._load()
        return self._read.items(split, n)

    def prompt(self, item: Item) -> Prompt:
        """The problem, and where the answer belongs."""
        problem = item.data["problem"]
        if self.style == "chat":
            return [{"role": "user", "content": f"{_REQUEST}\n\n{problem}"}]
        return f"{_REQUEST}\n\nProblem:\n{problem}\n\nSolution:\n"

    def grade(self, item: Item, completion: str) -> Grade:
        """`reason` is ok, different, too_large, timeout, verifier_failed, or why there is no answer to read."""
        found = find_answer(completion)
        groups = [f"{name} {value}" for name, value in item.data["groups"].items()]
        if found.text is None:
            return Grade(False, 0.0, False, found.reason, None, dict.fromkeys(groups, 0.0))
        if self.benchmark.whole_numbers and item.data["answer"].isdigit():
            digits = found.text.lstrip("0") or "0"
            right = found.text.isascii() and found.text.isdigit() and digits == (item.data["answer"].lstrip("0") or "0")
            reason = "ok" if right else "different"
        else:
            verdict = same_answer(item.data["answer"], found.text)
            right, reason = verdict.same, "ok" if verdict.same else verdict.reason
        return Grade(right, float(right), True, reason, found.text, dict.fromkeys(groups, float(right)))

    def demonstration(self, item: Item) -> str:
        """The solution if there is one that ends in the answer, else the boxed answer."""
        solution = item.data["solution"]
        if solution is not None and find_answer(solution).text == item.data["answer"]:
            return str(solution)
        return f"\\boxed{{{item.data['answer']}}}"

    def _load(self) -> Fixed:
        place = Path(self.data) if self.data is not None else None
        test = make_items(self.name, self.benchmark, read_benchmark(self.benchmark, place), "test")
        splits: dict[str, list[Item]] = {"train": [], "val": [], "test": test}
        if self.train is not None:
            records = read_jsonl(Path(self.train), {"problem": str})
            known = {item.id for item in test}
            for record, item in zip(records, make_items(self.name, _TRAINING, records, None), strict=True):
                if item.id in known:
                    raise record.fail(f"this problem is also a test problem of {self.name}")
                splits[item.split].append(item)
        return Fixed(self.name, splits)


@task("math-500", version=1, source="Hendrycks et al. 2021, arXiv 2103.03874; Lightman et al. 2023, 2305.20050")
class Math500(Mathematics):
    """500 competition problems of MATH, by subject and level."""

    benchmark = Benchmark("HuggingFaceH4/MATH-500", None, "test", "problem", "answer", "solution", ("level", "subject"))


@task("aime", version=1, source="American Invitational Mathematics Examination, answers from 0 to 999")
class Aime(Mathematics):
    """The 30 problems of AIME 2024."""

    benchmark = Benchmark("HuggingFaceH4/aime_2024", None, "train", "problem", "answer", "solution", whole_numbers=True)


@task("amc", version=1, source="American Mathematics Competitions, as in AI-MO's validation set")
class Amc(Mathematics):
    """The problems of AMC 2022 and 2023 with numeric answers."""

    benchmark = Benchmark("AI-MO/aimo-validation-amc", None, "train", "problem", "answer")


@task("minerva", version=1, source="Lewkowycz et al. 2022, arXiv 2206.14858, the undergraduate problems")
class Minerva(Mathematics):
    """272 undergraduate problems of science with answers in closed form."""

    benchmark = Benchmark("math-ai/minervamath", None, "test", "question", "answer")


@task("olympiadbench", version=1, source="He et al. 2024, arXiv 2402.14008, open-ended problems in English, text only")
class OlympiadBench(Mathematics):
    """Olympiad problems of mathematics in English."""

    benchmark = Benchmark(
        "Hothan/OlympiadBench", "OE_TO_maths_en_COMP", "train", "question", "final_answer", None, ("subfield",)
    )
