"""Scoring Countdown with the `hf` engine against lm-evaluation-harness's `hf` backend, side by side in one process.

    python -m benchmarks.evaluation [--items 1000] [--level L2] [--shots 0] [--rows 512]
                                    [--batches 128,256,512] [--repeats 5]

The same model object, prompts, limit of tokens and greedy decoding for both; what is timed is everything from the
prompts' text to the answers' text. lm-eval runs at each of `--batches`, and the fastest of them is what the engine is
compared with; its default batch of one row is measured once on a tenth of the items and extrapolated. The limit is what
the ratio would be if the engine took no time beyond the model's own forward passes. Ways alternate, times are those of
the process on one thread, figures are medians. Exit code 1 if the ratio misses its goal, or if an answer differs
anywhere.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from harness.contracts import Sampling
from harness.engines.hf import HFEngine
from harness.evaluate import solved_examples, with_shots
from harness.models import load_model
from harness.registry import load_task

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
    arguments.add_argument("--batches", default="128,256,512")
    arguments.add_argument("--repeats", type=int, default=5)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    loaded = load_model(given.model)
    model, tokenizer = loaded.model().eval(), loaded.tokenizer()
    task = load_task("countdown", level=given.level)
    shots = solved_examples(task, given.shots)
    prompts = [str(with_shots(task.prompt(item), shots)) for item in task.items("test", given.items)]
    sampling = Sampling(task.max_new_tokens, 0.0, 1.0, task.stop)
    engine = HFEngine(model, tokenizer, given.rows)
    ways: dict[str, Callable[[], list[str]]] = {
        "hf engine": lambda: [answer.text for answer in engine.generate(prompts, sampling, 0)]
    }
    for batch in map(int, given.batches.split(",")):
        ways[f"lm-eval, batch {batch}"] = backend(model, tokenizer, prompts, sampling, batch)
    answers, seconds = _alternate(ways, given.repeats)
    ours = answers.pop("hf engine")
    per_second = {name: len(prompts) / statistics.median(found) for name, found in seconds.items()}
    different = {name: sum(a != b for a, b in zip(ours, found, strict=True)) for name, found in answers.items()}
    inside = statistics.median(in_passes(model, ways["hf engine"]) for _ in range(given.repeats))
    few = prompts[: max(1, len(prompts) // 10)]
    _, one = _alternate({"one": backend(model, tokenizer, few, sampling, 1)}, 1)
    per_second["lm-eval, batch 1"] = len(few) / one["one"][0]
    for name, rate in per_second.items():
        spread = f"(n {len(seconds[name])})" if name in seconds else f"(once, {len(few)} items)"
        print(f"{name:20} {rate:9.1f} items/s {spread} {different.get(name, '-'):>4} answers differ")
    rival = max(rate for name, rate in per_second.items() if name != "hf engine")
    ratio = per_second["hf engine"] / rival
    limit = len(prompts) / inside
    print(f"{'its passes alone':20} {limit:9.1f} items/s (n {given.repeats})    limit of the ratio {limit / rival:.2f}")
    print(f"{'hf engine / lm-eval':20} {ratio:9.2f}  goal >= {GOAL:g}{'' if ratio >= GOAL else '  MISSED'}")
    return int(ratio < GOAL or any(different.values()))


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


def backend(model: Any, tokenizer: Any, prompts: list[str], sampling: Sampling, batch: int) -> Callable[[], list[str]]:
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
    return lambda: [str(text) for text in theirs.generate_until(requests, disable_tqdm=True)]


def _alternate(
    ways: dict[str, Callable[[], list[str]]], repeats: int
) -> tuple[dict[str, list[str]], dict[str, list[float]]]:
    """Each way's answers, and the process's seconds in every repeat; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    answers: dict[str, list[str]] = {}
    for repeat in range(repeats + 1):
        for name, work in ways.items():
            start = time.process_time()
            answers[name] = work()
            if repeat:
                seconds[name].append(time.process_time() - start)
    return answers, seconds


if __name__ == "__main__":
    sys.exit(main())
