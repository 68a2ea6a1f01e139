"""What it costs to internalise a document, and to ask about it afterwards: ratios measured side by side in one run.

    python -m benchmarks.internalise RUN [--documents 32] [--repeats 30] [-t windows=0.06]

RUN is the directory of a finished run of `d2l`; its task's test documents are used, or those of the task with other
settings (the teacher must see them whole). Its hypernetwork writes each of them once; gradient context distillation
(the recipe's rank and scale, the best of several learning rates) takes as many updates as it needs to answer as many
questions right: on the true questions, which are known to nobody when a document is read, and (generated facts) on
others about the same document: each fact in its other wordings, and as many keys that are not told. Where it does not
get there in 300 updates (its teacher may know less), what these take is a lower bound, and said to be one. Both start
from the text: the teacher's answers belong to the distillation's time, the finding of other questions does not.
Then one question is answered without a document, with the adapter merged, with it applied beside the weights, and with
the document in its prompt. Documents one at a time, warm, loading left out; what is compared alternates, figures are
medians. On a processor time is what the one thread had of it, so that what else the machine does is in no figure; on a
GPU it is the wall's. Exit code 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from harness.adapters import merged, open_adapter
from harness.contracts import Item, Resources, Sampling
from harness.document import scalar
from harness.engines.adapted import AdaptedEngine
from harness.engines.hf import HFEngine, encode
from harness.generator_model import GeneratorModel
from harness.generators import build_generator, find_generator
from harness.record import RunDirectory
from harness.registry import load_task
from methods.objectives.document_questions import likeliest
from methods.objectives.rows_of_answers import answer_rows
from methods.objectives.top_k import cross_entropy, mean_of_means
from tasks.corpus.facts import RELATIONS, UNKNOWN

Way = tuple[Callable[[], AbstractContextManager[Any]], Callable[[], Any]]
RANK, ALPHA, TOP = 8, 16.0, 16
RATES = (3e-3, 1e-2, 3e-2)
MOST_UPDATES, CHECKED_EACH, CHECKED_EVERY = 300, 20, 5
GOALS = {
    "on the true questions / hypernetwork": (50.0, "at least"),
    "on other questions / hypernetwork": (50.0, "at least"),
    "merged / no document": (1.05, "at most"),
}


@dataclass(frozen=True)
class Known:
    """A document, the tokens of its questions, and what the base that sees it answers."""

    text: str
    items: list[Any]
    prompts: list[list[int]]
    answers: list[list[int]]
    likely: list[tuple[list[list[int]], list[list[float]]]]


def main() -> int:
    """Print figures and ratios."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path)
    arguments.add_argument("--documents", type=int, default=32)
    arguments.add_argument("--repeats", type=int, default=30)
    arguments.add_argument("-t", "--task", action="append", default=[], metavar="NAME=VALUE", dest="settings")
    given = arguments.parse_args()
    torch.set_num_threads(Resources().threads)
    handle, spec = find_generator(given.run), RunDirectory(given.run).read_spec()
    base = handle.base()
    model = handle.open(base.model().eval(), base.tokenizer())
    changed = {name: scalar(value) for name, _, value in (setting.partition("=") for setting in given.settings)}
    task = load_task(spec.task.name, **{**spec.task.parameters, **changed})
    bench = Bench(model, task, task.documents("test", given.documents))
    ratios = bench.internalise() | bench.follow_up(given.repeats, base)
    missed = 0
    for name, ratio in ratios.items():
        goal, side = GOALS.get(name, (None, ""))
        good = goal is None or (ratio >= goal if side == "at least" else ratio <= goal)
        missed += not good
        said = "" if goal is None else f"goal {side} {goal:g}" + ("" if good else "  MISSED")
        print(f"{name:32} {ratio:9.3f}  {said}")
    return int(missed > 0)


class Bench:
    """The base, its hypernetwork and the documents."""

    def __init__(self, model: GeneratorModel, task: Any, documents: list[Any]) -> None:
        self.model, self.task, self.documents = model, task, documents
        self.sampling = Sampling(task.max_new_tokens, 0.0, 1.0, task.stop)
        self.engine = HFEngine(model.base, model.tokenizer)

    def internalise(self) -> dict[str, float]:
        """Seconds a document by both ways, to the same accuracy."""
        wanted = self._accuracy(self.model)
        tokens = statistics.median(len(encode(self.model.tokenizer, one.text)) for one in self.documents)
        print(
            f"{len(self.documents)} documents of {tokens:.0f} tokens (median); accuracy on their questions "
            f"{wanted:.3f}, {self._taught():.3f} with the document in the prompt"
        )
        written = [self._seconds(partial(self._write, one.text)) for one in self.documents]
        write = statistics.median(written)
        print(f"hypernetwork {1e3 * write:.1f} ms a document")
        questions = {"on the true questions": [one.items for one in self.documents]}
        if self.task.name == "facts" and self.task.data is None:
            questions["on other questions"] = [others(one) for one in self.documents]
        return {
            f"{name} / hypernetwork": self._distilled(name, asked, wanted) / write for name, asked in questions.items()
        }

    def _distilled(self, name: str, asked: list[list[Item]], wanted: float) -> float:
        """Seconds a document by gradient steps on `asked`, until `wanted` of its own questions are answered right."""
        known = [self._known(one, items) for one, items in zip(self.documents, asked, strict=True)]
        best: tuple[int, float] | None = None
        reached: dict[float, float] = {}
        for rate in RATES:
            limit = MOST_UPDATES if best is None else best[0] - 1
            updates, reached[rate] = self._updates_until(known, wanted, rate, limit)
            best = (updates, rate) if reached[rate] >= wanted else best
        least = "" if best is not None else f", which do not reach it ({max(reached.values()):.3f} at most)"
        best = best or (MOST_UPDATES, max(reached, key=lambda rate: reached[rate]))
        seconds: dict[str, list[float]] = {"teacher": [], "update": []}
        for document, one in zip(self.documents, known, strict=True):
            table, optimiser = self._table([one])
            self._update(table, optimiser, [one], best[1])
            teach = partial(self._known, document, one.items)
            seconds["teacher"].append(self._seconds(teach))
            seconds["update"].append(self._seconds(partial(self._update, table, optimiser, [one], best[1])))
        teacher, update = (statistics.median(found) for found in seconds.values())
        whole = teacher + best[0] * update
        print(
            f"distillation {name} {1e3 * whole:.1f} ms: teacher {1e3 * teacher:.1f} ms, {best[0]} updates of "
            f"{1e3 * update:.1f} ms at {best[1]:g}{least}"
        )
        return whole

    def follow_up(self, repeats: int, base: Any) -> dict[str, float]:
        """Seconds a question with each way to know the document, and bytes of key-value cache and adapter."""
        import tempfile

        document = self.documents[0]
        item = document.items[0]
        asked, told = self.task.prompt_with(item, ""), self.task.prompt_with(item, document.text)
        adapters = self._write(document.text)
        with tempfile.TemporaryDirectory() as folder:
            adapters.adapter(0, base.name).write(Path(folder))
            whole = merged(open_adapter(base.model().eval(), Path(folder)))
        engines = {"no document": self.engine, "merged": HFEngine(whole, self.model.tokenizer)}
        ways: dict[str, Way] = {
            name: (nullcontext, lambda engine=engine: engine.generate([asked], self._four, 0))
            for name, engine in engines.items()
        }
        ways["in the prompt"] = (nullcontext, lambda: self.engine.generate([told], self._four, 0))
        beside = lambda: self.model.applied(adapters)  # noqa: E731 - one of four of a kind
        ways["applied"] = (beside, lambda: self.engine.generate([asked], self._four, 0))
        seconds = _alternate(ways, repeats)
        size = torch.finfo(self.model.base.dtype).bits // 8
        each = kv_bytes_per_token(self.model.base.config, size)
        lengths = [len(encode(self.model.tokenizer, prompt)) for prompt in (asked, told)]
        adapter = sum(part.numel() for side in (adapters.down, adapters.up) for part in side.values()) * size
        print(
            f"cache of a follow-up question: {each * lengths[0]:,} bytes, {each * lengths[1]:,} with the document in "
            f"its prompt ({each:,} a token); the adapter has {adapter:,} bytes"
        )
        return {f"{name} / no document": one / seconds["no document"] for name, one in seconds.items()} | {
            "cache with document / without": lengths[1] / lengths[0]
        }

    @property
    def _four(self) -> Sampling:
        return Sampling(4, 0.0, 1.0, None)

    def _write(self, text: str) -> Any:
        with torch.inference_mode():
            return self.model.write([text])

    def _accuracy(self, model: GeneratorModel) -> float:
        """Of every document's own adapter on all its questions."""
        items = [(item, one.text) for one in self.documents for item in one.items]
        prompts = [self.task.prompt_with(item, "") for item, _ in items]
        engine = AdaptedEngine(model, model.tokenizer)
        answers = engine.generate(prompts, [text for _, text in items], self.sampling, 0)
        right = [self.task.grade(item, answer.text).correct for (item, _), answer in zip(items, answers, strict=True)]
        return sum(right) / len(right)

    def _taught(self) -> float:
        """Accuracy of the base with each document in its prompt: of the distillation's teacher."""
        items = [(item, one.text) for one in self.documents for item in one.items]
        prompts = [self.task.prompt_with(item, text) for item, text in items]
        answers = self.engine.generate(prompts, self.sampling, 0)
        right = [self.task.grade(item, answer.text).correct for (item, _), answer in zip(items, answers, strict=True)]
        return sum(right) / len(right)

    def _known(self, document: Any, items: Sequence[Item]) -> Known:
        tokenizer, task = self.model.tokenizer, self.task
        told = [task.prompt_with(item, document.text) for item in items]
        answers = [one.token_ids for one in self.engine.generate(told, self.sampling, 0)]
        likely = likeliest(self.model.base, [encode(tokenizer, one) for one in told], answers, TOP)
        prompts = [encode(tokenizer, task.prompt_with(item, "")) for item in items]
        return Known(document.text, list(items), prompts, answers, likely)

    def _table(self, known: list[Known]) -> tuple[GeneratorModel, torch.optim.Optimizer]:
        targets = self.model.hypernetwork.configuration["targets"]
        table = build_generator("adapter-table", self.model.base, {"targets": targets, "rank": RANK, "alpha": ALPHA})
        table.hold([[one.text] for one in known], 0)
        made = GeneratorModel("adapter-table", self.model.base, table, self.model.tokenizer)
        return made, torch.optim.AdamW(table.parameters(), lr=1.0, weight_decay=0.0)

    def _updates_until(self, known: list[Known], wanted: float, rate: float, most: int) -> tuple[int, float]:
        """Updates after which distillation is as right, `most` of them tried, and the highest accuracy on the way;
        documents side by side, each by its own gradient alone."""
        table, optimiser = self._table(known)
        highest = 0.0
        for number in range(1, most + 1):
            self._update(table, optimiser, known, rate)
            if number <= CHECKED_EACH or number % CHECKED_EVERY == 0:
                highest = max(highest, self._accuracy(table))
                if highest >= wanted:
                    return number, highest
        return most, highest

    def _update(self, table: GeneratorModel, optimiser: Any, known: list[Known], rate: float) -> None:
        optimiser.param_groups[0]["lr"] = rate
        rows = answer_rows(
            [prompt for one in known for prompt in one.prompts], [answer for one in known for answer in one.answers],
            table.base.device,
        )  # fmt: skip
        owner = torch.tensor([at for at, one in enumerate(known) for _ in one.prompts])
        with table.applied(table.write([one.text for one in known])) as layout:
            layout.arrange(owner)
            logits = rows.logits(table)
        likely = [pair for one in known for pair in one.likely]
        ids = torch.tensor([place for ids, _ in likely for place in ids])
        logprobs = torch.tensor([place for _, values in likely for place in values])
        question = torch.repeat_interleave(torch.arange(len(owner)), torch.tensor(rows.lengths))
        mean_of_means(cross_entropy(logits, ids, logprobs), question, owner).backward()
        optimiser.step()
        optimiser.zero_grad()

    def _seconds(self, work: Callable[[], Any]) -> float:
        """What the second call of `work` takes."""
        work()
        return timed(work)


def others(document: Any) -> list[Item]:
    """Questions that a reader of the document might be asked and that its own questions are not."""
    rng, asked, found = random.Random(document.text), {item.data["question"] for item in document.items}, []
    for item in document.items:
        relation, key = next(
            (name, key)
            for name, one in RELATIONS.items()
            for wording in one.asked
            for key in one.keys
            if wording.format(k=key) == item.data["question"]
        )
        if item.data["answers"][0] != UNKNOWN:
            found += [wording.format(k=key) for wording in RELATIONS[relation].asked]
        absent = rng.choice([key for key in RELATIONS[relation].keys if f" {key} " not in document.text])
        found.append(rng.choice(RELATIONS[relation].asked).format(k=absent))
    chosen = [question for question in dict.fromkeys(found) if question not in asked]
    return [Item(f"other-{place}", "test", {"question": question}) for place, question in enumerate(chosen)]


def kv_bytes_per_token(config: Any, size: int) -> int:
    """Bytes of keys and values that a token leaves in the cache: 2 x layers x key heads x head width x bytes."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(2 * text.num_hidden_layers * heads * width * size)


def _alternate(ways: dict[str, Way], repeats: int) -> dict[str, float]:
    """Median seconds of each way, in turn; what must be put in place before it is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeats + 1):
        for name, (context, work) in ways.items():
            with context():
                taken = timed(work)
            if number:  # the first round warms up
                seconds[name].append(taken)
    return {name: statistics.median(found) for name, found in seconds.items()}


def timed(work: Callable[[], Any]) -> float:
    """Seconds of the processor's one thread, or of the wall where there is a GPU to wait for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    start = clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


if __name__ == "__main__":
    raise SystemExit(main())
