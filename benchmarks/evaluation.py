"""Scoring Countdown with the `hf` engine against lm-evaluation-harness's `hf` backend, side by side in one process.

    python -m benchmarks.evaluation [--items 1000] [--level L2] [--shots 0] [--rows 512]
                                    [--batches auto,64,128,256,512] [--repeats 5] [--processes 1]

The same model, prompts, limit of tokens and greedy decoding for both; what is timed is everything from the prompts'
text to the answers' text. lm-eval runs at each of `--batches` (its `auto` tries at every call what fits, 64 rows at
most), and the fastest of them is what the engine is compared with; its default batch of one row is measured once on a
tenth of the items and extrapolated. The limit is what the ratio would be if the engine took no time beyond the model's
own forward passes. Ways alternate, times are those of the process on one thread, figures are medians.

With `--processes N` it is what N cores, which must be free, are worth to each, by the wall's clock: the engine over N
processes of one thread each, as in a run whose resources say `processes: N`; lm-eval, which on a processor is one
process, at N threads. Exit code 1 if the ratio misses its goal, or if an answer differs anywhere.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from harness.contracts import Resources, Sampling
from harness.engines.dealt import DealtEngine
from harness.engines.hf import HFEngine
from harness.evaluate import solved_examples, with_shots
from harness.models import load_model
from harness.ranks import ALONE, Ranks
from harness.registry import load_task
from harness.team import joined, store_at

GOAL = 2.0
"""Items per second over lm-eval's."""


def main() -> int:
    """Print items per second and the ratio."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", default="lab")
    arguments.add_argument("--items", type=int, default=1000)
    arguments.add_argument("--level", default="L2")
    arguments.add_argument("--shots", type=int, default=0, help="solved examples before every question")
    arguments.add_argument("--rows", type=int, default=512)
    arguments.add_argument("--batches", default="auto,64,128,256,512")
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--processes", type=int, default=1, help="of the engine; threads of lm-eval")
    given = arguments.parse_args()
    if given.processes < 1:
        arguments.error(f"--processes {given.processes} is not possible: one process at least must answer")
    if not all(one == "auto" or (one.isdigit() and int(one)) for one in given.batches.split(",")):
        arguments.error(f"--batches {given.batches} is not possible: numbers of rows, or auto, with commas between")
    torch.set_num_threads(1)
    loaded = load_model(given.model)
    model, tokenizer = loaded.model().eval(), loaded.tokenizer()
    task = load_task("countdown", level=given.level)
    shots = solved_examples(task, given.shots)
    prompts = [str(with_shots(task.prompt(item), shots)) for item in task.items("test", given.items)]
    sampling = Sampling(task.max_new_tokens, 0.0, 1.0, task.stop)
    cores, clock = given.processes, time.process_time if given.processes == 1 else time.perf_counter
    ways: dict[str, Callable[[], list[str]]] = {}
    for batch in given.batches.split(","):
        rows = batch if batch == "auto" else int(batch)
        ways[f"lm-eval, batch {batch}"] = backend(model, tokenizer, prompts, sampling, rows, cores)
    few = prompts[: max(1, len(prompts) // 10)]
    with engine(given.model, given.rows, prompts, sampling, cores, given.repeats + 1) as work:
        answers, seconds = _alternate({"hf engine": work, **ways}, given.repeats, clock)
    ours = answers.pop("hf engine")
    per_second = {name: len(prompts) / statistics.median(found) for name, found in seconds.items()}
    different = {name: sum(a != b for a, b in zip(ours, found, strict=True)) for name, found in answers.items()}
    _, one = _alternate({"one": backend(model, tokenizer, few, sampling, 1, cores)}, 1, clock)
    per_second["lm-eval, batch 1"] = len(few) / one["one"][0]
    for name, rate in per_second.items():
        spread = f"(n {len(seconds[name])})" if name in seconds else f"(once, {len(few)} items)"
        print(f"{name:20} {rate:9.1f} items/s {spread} {different.get(name, '-'):>4} answers differ")
    rival = max(rate for name, rate in per_second.items() if name != "hf engine")
    ratio = per_second["hf engine"] / rival
    if cores == 1:
        alone = HFEngine(model, tokenizer, given.rows)
        inside = [in_passes(model, lambda: alone.generate(prompts, sampling, 0)) for _ in range(given.repeats)]
        limit = len(prompts) / statistics.median(inside)
        print(
            f"{'its passes alone':20} {limit:9.1f} items/s (n {given.repeats})  limit of the ratio {limit / rival:.2f}"
        )
    print(f"{'hf engine / lm-eval':20} {ratio:9.2f}  goal >= {GOAL:g}{'' if ratio >= GOAL else '  MISSED'}")
    return int(ratio < GOAL or any(different.values()))


@contextmanager
def engine(
    name: str, rows: int, prompts: list[str], sampling: Sampling, count: int, calls: int
) -> Iterator[Callable[[], list[str]]]:
    """What answers the prompts by the engine over `count` processes, begun together; it can be called `calls` times."""
    if count == 1:
        yield _share(name, rows, prompts, sampling, ALONE)
        return
    store = torch.distributed.TCPStore("127.0.0.1", 0, count, is_master=True, wait_for_workers=False)
    given = (name, rows, prompts, sampling, count, calls, store.port)
    others = [
        multiprocessing.get_context("spawn").Process(target=_follow, args=(rank, *given), daemon=True)
        for rank in range(1, count)
    ]
    for other in others:
        other.start()
    yield _share(name, rows, prompts, sampling, joined(0, Resources(processes=count), store))
    for other in others:
        other.join()


def _follow(
    rank: int, name: str, rows: int, prompts: list[str], sampling: Sampling, count: int, calls: int, port: int
) -> None:
    torch.set_num_threads(1)
    resources = Resources(processes=count)
    work = _share(name, rows, prompts, sampling, joined(rank, resources, store_at(port, resources)))
    for _ in range(calls):
        work()


def _share(name: str, rows: int, prompts: list[str], sampling: Sampling, ranks: Ranks) -> Callable[[], list[str]]:
    loaded = load_model(name)
    dealt = DealtEngine(HFEngine(loaded.model().eval(), loaded.tokenizer(), rows), ranks)

    def work() -> list[str]:
        torch.set_num_threads(1)
        ranks.gather(None)  # nobody begins before all do
        return [answer.text for answer in dealt.generate(prompts, sampling, 0)]

    return work


def in_passes(model: Any, work: Callable[[], object]) -> float:
    """Processor seconds that the model's own forward passes take of `work`."""
    begun: list[float] = []
    ended: list[float] = []
    before = model.register_forward_pre_hook(lambda *_: begun.append(time.process_time()))
    after = model.register_forward_hook(lambda *_: ended.append(time.process_time()))
    try:
        work()
    finally:
        before.remove()
        after.remove()
    return sum(ended) - sum(begun)


def backend(
    model: Any, tokenizer: Any, prompts: list[str], sampling: Sampling, batch: int | str, threads: int = 1
) -> Callable[[], list[str]]:
    """What answers the prompts by lm-eval's backend, as its `generate_until` does for an exported task."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, device="cpu")
    settings = {
        "until": [sampling.stop] if sampling.stop else [],
        "max_gen_toks": sampling.max_new_tokens,
        "do_sample": False,
        "temperature": 0.0,
    }
    requests = [
        Instance("generate_until", {}, (prompt, settings), place, ("countdown", place, 1))
        for place, prompt in enumerate(prompts)
    ]

    def work() -> list[str]:
        torch.set_num_threads(threads)
        return [str(text) for text in theirs.generate_until(requests, disable_tqdm=True)]

    return work


def _alternate(
    ways: dict[str, Callable[[], list[str]]], repeats: int, clock: Callable[[], float]
) -> tuple[dict[str, list[str]], dict[str, list[float]]]:
    """Each way's answers, and its seconds by the clock in every repeat; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    answers: dict[str, list[str]] = {}
    for repeat in range(repeats + 1):
        for name, work in ways.items():
            start = clock()
            answers[name] = work()
            if repeat:
                seconds[name].append(clock() - start)
    return answers, seconds


if __name__ == "__main__":
    sys.exit(main())
