"""What the suites share: short specs on the lab model, and a real kill."""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from rich.console import Console

from harness.contracts import Resources
from harness.models import load_model
from harness.record import RunDirectory
from harness.registry import find_method, find_task, load_task
from harness.spec import Budget, EvaluationProtocol, RunSpec

torch.set_num_threads(1)
# A shell that starts the tests in the background has Ctrl-C ignored, which programs under test would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Small enough to run in a second, and large enough that every method has something to do.
# fmt: off
QUICK: dict[str, dict[str, object]] = {
    "cpt": {"examples": 64, "batch_size": 2, "length": 64, "learning_rate": 1e-3},
    "sft": {"examples": 16, "batch_size": 4, "learning_rate": 1e-3},
    "dpo": {"prompts": 64, "samples": 8, "batch_size": 4, "learning_rate": 1e-4, "sampling_share": 0.9},
    "dpo-nll": {"prompts": 64, "samples": 8, "batch_size": 4, "learning_rate": 1e-4, "sampling_share": 0.9},
    "ipo": {"prompts": 64, "samples": 8, "batch_size": 4, "learning_rate": 1e-4, "sampling_share": 0.9},
    "apo": {"prompts": 64, "samples": 8, "batch_size": 4, "learning_rate": 1e-4, "sampling_share": 0.9},
    "iterative-dpo": {
        "prompts": 32, "samples": 8, "batch_size": 4, "learning_rate": 1e-4, "sampling_share": 0.9, "rounds": 2,
    },
    "online-dpo": {"prompts_per_step": 8, "samples": 4, "learning_rate": 1e-3, "examples": 32},
    "kto": {"prompts": 64, "samples": 8, "batch_size": 4, "learning_rate": 1e-4, "sampling_share": 0.9},
    "cpo": {"prompts": 64, "samples": 8, "batch_size": 4, "learning_rate": 1e-4, "sampling_share": 0.9},
    "simpo": {"prompts": 64, "samples": 8, "batch_size": 4, "learning_rate": 1e-4, "sampling_share": 0.9},
    "orpo": {"prompts": 64, "samples": 8, "batch_size": 4, "learning_rate": 1e-4, "sampling_share": 0.9},
    "rft": {"prompts": 64, "samples": 8, "batch_size": 4, "learning_rate": 1e-4, "rounds": 2},
    "distill-seq": {"prompts": 32, "batch_size": 4, "learning_rate": 1e-3},
    "distill-onpolicy": {"prompts_per_step": 4, "learning_rate": 1e-3, "examples": 32},
    "distill-trace": {"batch_size": 4, "learning_rate": 1e-3, "examples": 64},
    "dr-grpo": {"group_size": 4, "prompts_per_step": 4, "learning_rate": 1e-2, "examples": 32},
    "grpo": {"group_size": 4, "prompts_per_step": 4, "learning_rate": 1e-3, "examples": 32},
    "dapo": {
        "group_size": 4, "prompts_per_step": 3, "learning_rate": 1e-3, "examples": 32, "minibatches": 3,
        "sampling_rounds": 3,
    },
    "gspo": {"group_size": 4, "prompts_per_step": 4, "learning_rate": 1e-3, "examples": 32, "minibatches": 3},
    "ppo": {
        "prompts_per_step": 8, "learning_rate": 1e-3, "value_learning_rate": 1e-2, "examples": 32, "minibatches": 2,
        "epochs": 3,
    },
    "reinforce": {"samples": 2, "prompts_per_step": 8, "learning_rate": 1e-3, "examples": 32},
    "rloo": {"group_size": 4, "prompts_per_step": 4, "learning_rate": 1e-3, "examples": 32, "epochs": 3},
    "es": {"population": 4, "prompts": 12, "examples": 16, "sigma": 0.05},
    "lora-es": {"population": 4, "prompts": 12, "examples": 16, "rank": 2},
    "es-paper": {"population": 4, "prompts": 12, "examples": 16, "sigma": 0.02},
    "eggroll": {"population": 4, "prompts": 12, "examples": 16, "sigma": 0.05},
    "mezo": {"batch_size": 4, "examples": 16, "learning_rate": 1e-5},
    "steering": {"prompts": 64, "samples": 8, "batch_size": 2, "sampling_share": 0.9, "strength": 4.0},
    "reward-model": {
        "prompts": 64, "samples": 8, "batch_size": 4, "learning_rate": 1e-3, "sampling_share": 0.9, "held_out": 0.3,
    },
    "process-reward-model": {
        "prompts": 24, "samples": 4, "continuations": 2, "batch_size": 4, "learning_rate": 1e-3, "delimiter": "=",
        "sampling_share": 0.9, "held_out": 0.3,
    },
    "rm-grpo": {
        "prompts": 64, "samples": 8, "batch_size": 4, "learning_rate": 1e-3, "sampling_share": 0.9, "held_out": 0.3,
        "reward_model_share": 0.5, "grpo_learning_rate": 1e-3, "group_size": 4, "prompts_per_step": 4,
    },
    "prm-grpo": {
        "prompts": 24, "samples": 4, "continuations": 2, "batch_size": 4, "learning_rate": 1e-3, "delimiter": "=",
        "sampling_share": 0.9, "held_out": 0.3, "reward_model_share": 0.5, "grpo_learning_rate": 1e-3, "group_size": 4,
        "prompts_per_step": 4,
    },
    "essa": {
        "population": 4, "prompts": 12, "examples": 16, "rank": 2, "batch_size": 4, "learning_rate": 1e-3,
        "sft_share": 0.5,
    },
    "d2l": {
        "learning_rate": 1e-2, "rank": 2, "latent": 16, "latents": 2, "blocks": 1, "heads": 1, "longest": 32,
        "batch_size": 4, "documents": 16, "most_chunks": 2, "shortest": 4, "alone": 0.5,
    },
    "context-distillation": {"learning_rate": 1e-2, "rank": 2, "batch_size": 4},
    "few-shot": {"shots": 2},
    "self-instruct": {
        "seeds": 64, "examples": 8, "shots": 1, "temperature": 1.0, "batch_size": 4, "learning_rate": 1e-3,
    },
    "r1": {
        "group_size": 4, "prompts_per_step": 4, "learning_rate": 1e-3, "grpo_learning_rate": 1e-3, "examples": 64,
        "batch_size": 4, "samples": 8, "sft_share": 0.2, "grpo_share": 0.2, "rejection_share": 0.2,
    },
    "sft-dpo": {
        "prompts": 64, "samples": 8, "batch_size": 4, "learning_rate": 1e-4, "dpo_learning_rate": 1e-4,
        "sampling_share": 0.9, "sft_share": 0.5,
    },
    "sft-es": {
        "population": 4, "prompts": 12, "examples": 16, "sigma": 0.05, "batch_size": 4, "learning_rate": 1e-3,
        "sft_share": 0.5,
    },
    "task-lora": {
        "learning_rate": 1e-2, "rank": 2, "tasks_per_step": 4, "points": 4, "examples": 16, "passes": 1,
    },
    "t2l": {
        "learning_rate": 2e-3, "tasks_per_step": 4, "examples": 64, "latent": 16, "rank": 2, "pooling": "mean",
    },
    "t2l-reconstruction": {
        "learning_rate": 1e-2, "examples": 64, "latent": 16, "rank": 2, "pooling": "mean", "library_share": 0.5,
        "library_learning_rate": 1e-2, "library_tasks_per_step": 4, "library_examples": 16,
    },
    "t2l-sft": {"examples": 16, "batch_size": 4, "learning_rate": 1e-3, "text": "reverse the line."},
    "t2l-es": {"population": 4, "prompts": 32, "examples": 64, "sigma": 0.1, "text": "reverse the line."},
    "sft-grpo": {
        "group_size": 4, "prompts_per_step": 4, "learning_rate": 1e-3, "grpo_learning_rate": 1e-3, "examples": 32,
        "batch_size": 4, "sft_share": 0.5,
    },
}
# fmt: on
QUICK_PARTS: dict[str, dict[str, object]] = {
    "lora": {"rank": 4},
    "adalora": {"rank": 2, "initial_rank": 4},
    "kron-lora": {"rank": 4, "outer": 4},
    "vera": {"rank": 8},
    "prompt": {"tokens": 4},
    "prefix": {"tokens": 4},
    "bottleneck": {"width": 4},
    "moa": {"rank": 2, "width": 4, "prompt_tokens": 3, "router_width": 1},
    "moa-sparse": {"rank": 2, "width": 4, "router_width": 1, "threshold": "subtract"},
    "moe-lora": {"rank": 2, "experts": 2},
    "squeeze": {"rank": 2, "source_rank": 4},
    "cont-squeeze": {"rank": 2, "source_rank": 4, "after": 0.5},
    "in-squeeze": {"rank": 1, "source_rank": 4},
}
"""The same for parameterisations and optimisers, used in a composition like `lora+sft`."""
LEARN_FROM = {"distill-seq": "teacher", "distill-onpolicy": "teacher", "distill-trace": "traces"}
"""Methods that learn from another run, and the parameter that names it."""
_DESCRIBED: tuple[str, dict[str, object]] = ("instructions", {"level": "seen", "context": "none"})
_DOCUMENT: tuple[str, dict[str, object]] = ("facts", {"level": "F0", "context": "none"})
TEXTS = dict.fromkeys(
    ("in-context", "task-lora", "t2l", "t2l-reconstruction", "t2l-sft", "t2l-es"), _DESCRIBED
) | dict.fromkeys(("d2l", "context-distillation"), _DOCUMENT)
"""Methods for items that come with texts, and the task that they are tried on, with the model that can read it."""
GO_ON_FROM_TEXT = ("t2l-sft", "t2l-es")
"""Methods that start from what a trained generator writes."""
STEPS = {"r1": 5}
"""Updates of a short run, where four are too few: one a stage, and two in the last."""
PROTOCOL = EvaluationProtocol(split="val", items=6, max_new_tokens=40, curve_points=2, curve_items=4)


def quick(name: str) -> dict[str, object]:
    """Quick settings of a method or of a composition."""
    *parts, method = name.split("+")
    settings = dict(QUICK.get(method, {}))
    for part in parts:
        settings |= QUICK_PARTS.get(part, {})
    return settings


def make_spec(
    method: str,
    model: str | None = None,
    seed: int = 0,
    steps: int | None = None,
    task: str | None = None,
    evaluation: EvaluationProtocol = PROTOCOL,
    **parameters: object,
) -> RunSpec:
    """A short run of `method`; methods without quick settings run with their defaults."""
    given, plain = {**quick(method), **parameters}, method.rpartition("+")[2]
    if plain in LEARN_FROM and LEARN_FROM[plain] not in given:
        given[LEARN_FROM[plain]] = str(finished_run().path)
    if plain in GO_ON_FROM_TEXT and "generator" not in given:
        given["generator"] = str(generator_run().path)
    tried_on, settings = TEXTS.get(plain, ("countdown", {"level": "L0"})) if task is None else (task, {})
    return RunSpec(
        method=find_method(method).resolve(given),
        task=find_task(tried_on).resolve({"level": "L0"} if task == "countdown" else settings),
        model=load_model(model or start_model(method)).reference(),
        budget=Budget(steps=STEPS.get(method, 4) if steps is None else steps),
        seed=seed,
        evaluation=evaluation,
    )


def place(spec: RunSpec, runs: Path) -> RunDirectory:
    """The run directory of `spec`, with its spec.json."""
    directory = RunDirectory.of(runs, spec)
    directory.path.mkdir(parents=True)
    directory.spec.write_text(spec.model_dump_json())
    return directory


@cache
def prepare() -> None:
    """What a worker's fork server does once: the heavy imports, of which no garbage collection has to think again."""
    from harness.fork_server import modules

    for module in modules():
        importlib.import_module(module)
    gc.collect()
    gc.freeze()


def run_to_end(spec: RunSpec, runs: Path) -> RunDirectory:
    """Run in this process; fails the test with the run's own error if it does not finish."""
    from harness.worker import DONE, work

    prepare()
    directory = place(spec, runs)
    code = work(directory.path, Resources())
    assert code == DONE, directory.error.read_text() if directory.error.exists() else code
    return directory


def start_model(method: str) -> str:
    """The model that a short run of `method` begins with: one that can do what the method asks of it."""
    plain = method.rpartition("+")[2]
    return writer() if plain == "self-instruct" else "lab-reader" if plain in TEXTS else "lab"


@cache
def writer() -> str:
    """The directory of a lab model that has learnt to write Countdown questions after others, made once."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    handle, task = load_model("lab"), load_task("countdown", level="L0")
    model, tokenizer = handle.model(), handle.tokenizer()
    texts = [f"{task.prompt(i)}{task.demonstration(i)}{tokenizer.eos_token}" for i in task.items("train", 64)]
    optimiser, rng = torch.optim.AdamW(model.parameters(), lr=2e-3), random.Random(0)
    for _ in range(30):
        rows = ["".join(rng.sample(texts, 2)) for _ in range(8)]
        batch = tokenizer(rows, return_tensors="pt", padding=True)
        labels = batch.input_ids.masked_fill(batch.attention_mask == 0, -100)
        model(**batch, labels=labels).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@cache
def finished_run() -> RunDirectory:
    """A finished short run of rejection sampling, made once: a teacher, and answers to training questions."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return run_to_end(make_spec("rft", rounds=1), folder / "runs")


@cache
def generator_run() -> RunDirectory:
    """A finished short run of Text-to-LoRA, made once."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return run_to_end(make_spec("t2l"), folder / "runs")


@cache
def library() -> Path:
    """A runs directory with an adapter of each of two described tasks, made once."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for only in ("first+next", "all+mirror"):
        spec = make_spec("rslora+sft", "lab-reader", task="instructions", rank=2, targets="q_proj,v_proj")
        described = find_task("instructions").resolve({"level": "seen", "context": "none", "only": only})
        run_to_end(spec.model_copy(update={"task": described}), folder)
    return folder


class Finished(dict[str, RunDirectory]):
    """One uninterrupted run of every method, made when it is first asked for."""

    def __init__(self, runs: Path, spec: Callable[[str], RunSpec]) -> None:
        self.runs = runs
        self._spec = spec

    def __missing__(self, name: str) -> RunDirectory:
        self[name] = run_to_end(self._spec(name), self.runs)
        return self[name]


def kill_when(directory: RunDirectory, ready: Callable[[RunDirectory], bool]) -> None:
    """Work on the run in a forked process and SIGKILL it as soon as `ready` says so."""
    from harness.worker import work

    prepare()
    child = os.fork()
    if child == 0:

        def watch() -> None:
            while not ready(directory):
                time.sleep(0.002)
            os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=watch, daemon=True).start()
        os._exit(work(directory.path, Resources(), checkpoint_seconds=0.0))
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the run ended before it could be killed"


def pytest_unconfigure() -> None:
    """Let the interpreter clear everything away at its end, as ever."""
    gc.unfreeze()


PROCESSES = ("tests/cli/", "tests/sweeps/", "tests/test_readme.py", "tests/harness/test_plugin.py")
"""Tests that start processes of their own, some against the clock: one at a time."""
SWEPT = ("tests/results/test_ingest.py", "tests/reports/test_report.py", "tests/reports/test_pages.py")
"""Tests of the finished sweep."""
ONE_BY_ONE = ("tests/contracts/test_methods.py", "tests/contracts/test_parameterisations.py")
"""Tests with a run of each name, which the tests of that name share."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Where tests run side by side (`make test`), what shares a fixture stays together: see `together`."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return together(nodeid)

    return Together(config, log)


def together(nodeid: str) -> str:
    """The group of a test: all that start processes, those of the finished sweep, those of one method, or its file."""
    file, _, test = nodeid.partition("::")
    if file.startswith(PROCESSES):
        return "processes"
    if file in SWEPT:
        return "swept"
    return f"{file} {test.partition('[')[2]}" if file in ONE_BY_ONE else file


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    path = tmp_path / "runs"
    yield path
    shutil.rmtree(path, ignore_errors=True)


SMALL = """
name: small
model: lab
task: {name: countdown, level: L1}
methods:
  - base
  - {name: sft, examples: 16, batch_size: 4, training: {accumulation: 2}}
  - {name: sft-es, population: 4, prompts: 16, examples: 16, batch_size: 4, sft_share: 0.5}
budget: {steps: 2}
tune: {trials: 2, items: 8, seeds: [100]}
final: {seeds: 3, items: 12, on: test}
evaluation: {temperature: 1.0, samples: 2, max_new_tokens: 40, curve_points: 2, curve_items: 4}
"""


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs directory of a finished sweep called `small`, really run: the base and two methods, three seeds."""
    from harness.executors.local import LocalExecutor
    from sweeps.controller import Controller
    from sweeps.file import read_sweep
    from sweeps.progress import progress_for
    from sweeps.resolve import resolve

    folder = tmp_path_factory.mktemp("swept")
    file = folder / "small.yaml"
    file.write_text(SMALL)
    parsed, document = read_sweep(file)
    resolved = resolve(parsed, document, load_model(parsed.model).reference())
    executor = LocalExecutor()
    outcome = Controller(resolved, folder / "runs", executor, executor.resources, ["beyondrl sweep small.yaml"]).run(
        progress_for(Console(file=io.StringIO()))
    )
    assert not outcome.failures
    return folder / "runs"
