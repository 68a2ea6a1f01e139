"""A real run on this machine's device: its tokens a second and how busy the device was, beside the plain engine.

    python -m benchmarks.device [--engine vllm] [--model lab] [--method grpo] [-p prompts_per_step=64]
                                [--task countdown] [-t level=L2] [--steps 10] [--repeats 3] [--items 200]

The plain engine is what a user would write from its documentation: `vllm.LLM` over the model's directory, or
transformers' `generate` over one padded batch, with the same prompts, as many at once, the same limits and temperature
and the start weights. Then the run itself: what its meters count as generated, over the seconds that it generated in
(new weights, adapters and text included), without the first update, in which engines start. How busy the device was is
nvidia-smi's, five times a second over the same updates; without a GPU it is the processor's. At last the answers:
greedy ones of this engine on this device beside those of the engine `hf` on the processor, in the model's own type.
Every part has a process of its own, one after the other. Exit code 1 if an answer differs in more than 1 of 200.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contracts import Resources, Sampling
from harness.document import scalar
from harness.engines.choice import check_engine, default_engine
from harness.errors import UserError
from harness.events import read_events
from harness.executors.local import LocalExecutor, visible_gpus
from harness.models import load_model
from harness.record import RunDirectory
from harness.registry import find_method, find_task, load_task
from harness.spec import Budget, EvaluationProtocol, RunSpec

_AGREE = 0.995
"""Share of greedy answers that must be equal; what is left are ties of floating-point sums."""
_SEED = 0


@dataclass(frozen=True)
class Load:
    """What both engines are given: a model's directory, rows at once, and how they are sampled."""

    model: str
    prompts: list[Any]
    sampling: Sampling
    gpu: bool


def main(given: Sequence[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default=default_engine(), choices=["hf", "vllm"])
    parser.add_argument("--model", default="lab")
    parser.add_argument("--method", default="grpo", help="one that samples `prompts_per_step` x `group_size` an update")
    parser.add_argument("--task", default="countdown")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--items", type=int, default=200)
    for short, name in (("-p", "--parameters"), ("-t", "--settings")):
        parser.add_argument(short, name, action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args(given)
    if options.steps < 2:
        parser.error("--steps 2 at least: the first update starts the engine and does not count")
    try:
        spec = planned(options)
    except UserError as error:
        parser.error(str(error))
    made = find_method(spec.method.name).create(**spec.method.parameters).stages[-1].objective  # type: ignore[union-attr]
    task = load_task(spec.task.name, **spec.task.parameters)
    asked = task.items("train", made.prompts_per_step)
    prompts = [task.prompt(item) for item in asked for _ in range(made.group_size)]
    sampling = Sampling(task.max_new_tokens, made.temperature, 1.0, task.stop)
    load = Load(str(load_model(options.model).path), prompts, sampling, bool(visible_gpus()))
    print(f"{spec.method.name} on {options.model}, engine {options.engine}: {len(prompts)} rows an update")
    rates = apart(plain_vllm if options.engine == "vllm" else plain_hf, load, options.repeats)
    plain = statistics.median(rates)
    print(f"{'plain engine':24} {plain:10.0f} tokens/s (n {len(rates)}, {min(rates):.0f} to {max(rates):.0f})")
    rate, busy, memory = real_run(spec)
    print(f"{'the run':24} {rate:10.0f} tokens/s while it generates, {rate / plain:.2f} of the plain engine")
    of = "GPU" if load.gpu else "processor"
    print(f"{of + ' busy':24} {busy:10.0%} of the time, all of an update" + (f"; {memory:.0f} MiB" if load.gpu else ""))
    if options.engine == "hf" and not load.gpu:
        return 0
    items = task.items("test", options.items)
    greedy = Load(
        load.model, [task.prompt(one) for one in items], Sampling(task.max_new_tokens, 0.0, 1.0, task.stop), load.gpu
    )
    here = apart(answers, greedy, options.engine)
    there = apart(answers, Load(greedy.model, greedy.prompts, greedy.sampling, False), "hf")
    equal = sum(a == b for a, b in zip(here, there, strict=True))
    print(f"{'greedy answers':24} {equal} of {len(items)} equal those of hf on the processor")
    return int(equal < _AGREE * len(items))


def planned(options: argparse.Namespace) -> RunSpec:
    """The run; UserError for a method that does not sample as it trains, an engine that is not there."""
    check_engine(options.engine)
    parameters, settings = (
        {name: scalar(value) for name, _, value in (one.partition("=") for one in some)}
        for some in (options.parameters, options.settings)
    )
    method = find_method(options.method)
    stages = method.create(**parameters).stages
    if not stages or not hasattr(getattr(stages[-1], "objective", None), "group_size"):
        raise UserError(f"{options.method!r} does not sample groups as it trains: take grpo or one of its kin.")
    return RunSpec(
        method=method.resolve(parameters),
        task=find_task(options.task).resolve(settings or ({"level": "L2"} if options.task == "countdown" else {})),
        model=load_model(options.model).reference(),
        budget=Budget(steps=options.steps),
        seed=_SEED,
        evaluation=EvaluationProtocol(split="val", items=1, curve_points=0, engine=options.engine),
    )


def apart(work: Callable[..., Any], *arguments: Any) -> Any:
    """What `work` returns in a process of its own, which leaves nothing on the device."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def plain_hf(load: Load, repeats: int) -> list[float]:
    """Tokens a second of transformers' own generation, all rows in one batch; the first time does not count."""
    import torch

    torch.set_num_threads(Resources().threads)
    handle = load_model(load.model)
    model: Any = handle.model().eval().to("cuda" if load.gpu else "cpu")
    tokenizer = handle.tokenizer()
    tokenizer.padding_side = "left"
    texts = [one if isinstance(one, str) else _chat(tokenizer, one) for one in load.prompts]
    batch = tokenizer(texts, padding=True, return_tensors="pt").to(model.device)

    def generate() -> int:
        torch.manual_seed(_SEED)
        found = model.generate(
            **batch, do_sample=True, temperature=load.sampling.temperature, top_k=0, top_p=1.0,
            max_new_tokens=load.sampling.max_new_tokens, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        answer = found[:, batch["input_ids"].shape[1] :]
        ended = (answer == tokenizer.eos_token_id).cumsum(1)
        return int((ended - (answer == tokenizer.eos_token_id).long() == 0).sum())

    return _rates(generate, repeats)


def plain_vllm(load: Load, repeats: int) -> list[float]:
    """Tokens a second of vLLM's own generation; the first time does not count. On a processor it runs as the engine's
    does: in this process, on its threads, nothing compiled."""
    import os

    import torch

    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    if not load.gpu:
        torch.set_num_threads(Resources().threads)
        torch.compiler.set_stance("force_eager")
        os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"
    from vllm import LLM, SamplingParams

    handle = load_model(load.model)
    dtype = str(handle.model().dtype).removeprefix("torch.")
    engine = LLM(model=load.model, dtype=dtype, enforce_eager=not load.gpu, disable_log_stats=True)
    settings = SamplingParams(
        temperature=load.sampling.temperature, max_tokens=load.sampling.max_new_tokens, seed=None, detokenize=True
    )
    tokenizer = handle.tokenizer()
    texts = [one if isinstance(one, str) else _chat(tokenizer, one) for one in load.prompts]

    def generate() -> int:
        return sum(len(one.outputs[0].token_ids) for one in engine.generate(texts, settings, use_tqdm=False))

    return _rates(generate, repeats)


def answers(load: Load, engine: str) -> list[str]:
    """Greedy answers by one of our engines."""
    import torch

    from harness.engines.choice import engine_of
    from harness.policy import Policy

    torch.set_num_threads(Resources().threads)
    handle = load_model(load.model)
    model = handle.model().eval().to("cuda" if load.gpu else "cpu")
    found = engine_of(engine, Policy(model, handle.tokenizer(), handle.path)).generate(load.prompts, load.sampling, 0)
    return [one.text for one in found]


def real_run(spec: RunSpec) -> tuple[float, float, float]:
    """Of every update but the first: tokens a second of generation, how busy the device was, and its memory in MiB."""
    with tempfile.TemporaryDirectory() as folder, watched() as seen:
        directory = RunDirectory.of(Path(folder), spec)
        directory.path.mkdir(parents=True)
        directory.spec.write_text(spec.model_dump_json())
        executor = LocalExecutor(1)
        try:
            run = executor.submit(directory.path)
            while run.poll() is None:
                executor.wait(0.2)
        finally:
            executor.close()
        if not directory.result.exists():
            raise UserError(f"The run failed: {directory.read_failure().message}")
        updates = [event for event in read_events(directory.events) if event["kind"] == "metrics"]
    first, last = updates[0], updates[-1]
    spent = {name: last["meters"][name] - first["meters"][name] for name in ("generated_tokens", "generate_seconds")}
    rate = spent["generated_tokens"] / spent["generate_seconds"]
    during = [one for one in seen if first["time"] <= one[0] <= last["time"]]
    if visible_gpus():
        return rate, statistics.fmean(one[1] for one in during) / 100, max(one[2] for one in during)
    processor = last["meters"]["processor_seconds"] - first["meters"]["processor_seconds"]
    return rate, processor / (last["time"] - first["time"]) / executor.resources.threads, 0.0


@contextmanager
def watched() -> Iterator[list[tuple[float, float, float]]]:
    """Time, per cent busy and MiB taken of the first visible GPU, five times a second; nothing without one."""
    seen: list[tuple[float, float, float]] = []
    gpus = visible_gpus()
    if not gpus:
        yield seen
        return
    command = ["nvidia-smi", "-i", gpus[0], "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
    with subprocess.Popen([*command, "-lms", "200"], stdout=subprocess.PIPE, text=True) as smi:

        def read() -> None:
            for line in smi.stdout or ():
                busy, memory = line.split(",")
                seen.append((time.time(), float(busy), float(memory)))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            yield seen
        finally:
            smi.terminate()
            reader.join()


def _rates(generate: Callable[[], int], repeats: int) -> list[float]:
    found = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        tokens = generate()
        found.append(tokens / (time.perf_counter() - started))
    return found[1:]


def _chat(tokenizer: Any, turns: Any) -> str:
    return str(tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))


if __name__ == "__main__":
    sys.exit(main())
