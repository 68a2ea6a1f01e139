"""A GRPO step here against the same step in a plain TRL script: same model, prompts, completions a step and threads.

    python benchmarks/grpo_step.py [--steps 12] [--repeats 3]

Both sample 32 prompts x 8 completions of Countdown L0 (some ten tokens each) from the lab model and make one on-policy
update with the loss of DeepSeekMath. The plain script is what a user would write from TRL's documentation: GRPOTrainer
with its own generation. The two alternate inside each repeat, the first steps of each run are left out, and the figure
is the median step. `limit` is the time of one generation and one forward and backward pass over the same tokens
without any padding, on the same thread: what no implementation on this engine can beat.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from harness.context import StageContext
from harness.contracts import Resources
from harness.events import EventLog
from harness.gradient_loop import run_gradient
from harness.meters import MeterBank
from harness.models import load_model
from harness.policy import Policy
from harness.record import RunDirectory
from harness.registry import find_method, find_task, load_method, load_task
from harness.run_context import RunContext
from harness.spec import Budget, EvaluationProtocol, RunSpec

PROMPTS, GROUP, TOKENS, LEVEL, RATE = 32, 8, 32, "L0", 1e-4
SKIPPED = 2
"""First steps of a run, in which caches are filled."""
GOAL = 0.6


def main() -> int:
    """Print the medians and their ratio; exit code 1 if ours takes more than 0.6 of the time."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--steps", type=int, default=12)
    arguments.add_argument("--repeats", type=int, default=3)
    given = arguments.parse_args()
    torch.set_num_threads(Resources().threads)
    ours: list[float] = []
    plain: list[float] = []
    rewards: dict[str, list[float]] = {"ours": [], "plain": []}
    for seed in range(given.repeats):
        with tempfile.TemporaryDirectory() as folder:
            for name, times, run in (("ours", ours, _ours), ("plain", plain, _plain)):
                found, reward = run(Path(folder) / name, given.steps + SKIPPED, seed)
                times += found[SKIPPED:]
                rewards[name] += reward
    ratio = statistics.median(ours) / statistics.median(plain)
    for name, times in (("ours", ours), ("plain TRL", plain)):
        spread = f"{min(times):.3f} to {max(times):.3f}, n {len(times)}"
        print(f"{name:10} {statistics.median(times):.3f} s a step ({spread})")
    print(f"{'limit':10} {_limit():.3f} s")
    print(f"mean reward: ours {statistics.mean(rewards['ours']):.3f}, plain {statistics.mean(rewards['plain']):.3f}")
    print(f"ratio      {ratio:.2f} (goal {GOAL:.2f}: {'kept' if ratio <= GOAL else 'missed'})")
    return int(ratio > GOAL)


def _ours(folder: Path, steps: int, seed: int) -> tuple[list[float], list[float]]:
    method = find_method("grpo").resolve(
        {"group_size": GROUP, "prompts_per_step": PROMPTS, "learning_rate": RATE, "examples": 200}
    )
    spec = RunSpec(
        method=method,
        task=find_task("countdown").resolve({"level": LEVEL}),
        model=load_model("lab").reference(),
        budget=Budget(steps=steps),
        seed=seed,
        evaluation=EvaluationProtocol(split="val", items=1, max_new_tokens=TOKENS, curve_points=0),
    )
    directory = RunDirectory(folder)
    folder.mkdir(parents=True)
    handle = load_model("lab")
    policy = Policy(handle.model().eval(), handle.tokenizer(), handle.path)
    log = _Timed(directory.events)
    run = RunContext(spec, directory, load_task("countdown", level=LEVEL), MeterBank(), log, checkpoint_seconds=1e9)
    (stage,) = load_method("grpo", **method.parameters).stages
    context = StageContext(run, 0, stage.parameterisation.attach(policy, 0))
    log.times.append(time.perf_counter())
    run_gradient(context, stage)
    return _differences(log.times), log.rewards


class _Timed(EventLog):
    """The run's own log, with the time of every step."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.times: list[float] = []
        self.rewards: list[float] = []

    def write(self, kind: str, **fields: Any) -> None:
        super().write(kind, **fields)
        if kind == "metrics":
            self.times.append(time.perf_counter())
            self.rewards.append(fields["values"]["reward"])


def _plain(folder: Path, steps: int, seed: int) -> tuple[list[float], list[float]]:
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    task = load_task("countdown", level=LEVEL)
    items = list(task.items("train", 200))
    handle = load_model("lab")
    tokenizer = handle.tokenizer()
    times = [0.0]
    rewards: list[float] = []

    def reward(completions: list[str], index: list[int], **_: Any) -> list[float]:
        return [task.grade(items[i], text).reward for i, text in zip(index, completions, strict=True)]

    class Clock(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "reward" in logs:
                times.append(time.perf_counter())
                rewards.append(logs["reward"])

    trainer = GRPOTrainer(
        model=handle.model(),
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=str(folder), per_device_train_batch_size=PROMPTS * GROUP, num_generations=GROUP, beta=0.0,
            max_completion_length=TOKENS, loss_type="grpo", learning_rate=RATE, lr_scheduler_type="constant",
            max_steps=steps, use_cpu=True, bf16=False, gradient_checkpointing=False, logging_steps=1,
            save_strategy="no", report_to=[], disable_tqdm=True, seed=seed,
        ),
        train_dataset=Dataset.from_list([{"prompt": task.prompt(item), "index": i} for i, item in enumerate(items)]),
        processing_class=tokenizer,
        callbacks=[Clock()],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    times[0] = time.perf_counter()
    trainer.train()
    return _differences(times), rewards


def _limit() -> float:
    """One unpadded generation of the tokens of a step, and one forward and backward pass over them."""
    handle = load_model("lab")
    model = handle.model()
    rows = PROMPTS * GROUP
    prompt, answer = torch.randint(10, 1000, (rows, 7)), torch.randint(10, 1000, (rows, 10))
    found = []
    for _ in range(3):
        started = time.perf_counter()
        with torch.inference_mode():
            state = model(prompt, use_cache=True, logits_to_keep=1)
            for column in range(answer.shape[1] - 1):
                state = model(answer[:, column : column + 1], past_key_values=state.past_key_values, use_cache=True)
        model(torch.cat([prompt, answer], 1)).logits.logsumexp(-1).mean().backward()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def _differences(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


if __name__ == "__main__":
    raise SystemExit(main())
