"""What ZeRO's stages spare: the memory that a process of a run holds, at each stage, beside what it has to hold.

    python -m benchmarks.zero [--processes 2] [--hidden 768] [--layers 12] [--accumulation 1] [--steps 6]

A model of random weights and the lab's tokenizer learns by SFT with AdamW on rows of some forty tokens. Shown is the
most memory that any process of the run had of its own from the third update to the last, less what it had before the
first, when the weights were still pages of their file, in bytes a parameter; beside it the sum of what has to be there:
weights 4, gradients 4, optimiser state 8 and the update's temporaries 4, of which stage 1 divides the last two by the
number of processes and stage 2 the last three. Activations and the buckets in which gradients are sent come on top. The
allocator is told to give back at once what is freed, so that what is resident is what is in use.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

from harness.contracts import Resources
from harness.events import read_events
from harness.executors.local import LocalExecutor
from harness.models import load_model
from harness.record import RunDirectory
from harness.registry import find_method, find_task
from harness.spec import Budget, EvaluationProtocol, RunSpec
from harness.training import Training

_LOOK_SECONDS = 0.01
_FIRST = 2  # updates that warm up


def main() -> int:
    """Print bytes a parameter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("processes", 2), ("hidden", 768), ("layers", 12), ("accumulation", 1), ("steps", 6)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    if given.steps <= _FIRST or given.hidden < 64 or given.hidden % 64 or min(given.layers, given.accumulation) < 1:
        parser.error(
            f"--hidden is a multiple of 64, --steps more than {_FIRST}, --layers and --accumulation at least 1"
        )
    if not 2 <= given.processes <= len(os.sched_getaffinity(0)):
        parser.error(f"--processes {given.processes} is not possible: two or more, each with a core of its own")
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**16)  # glibc's, read when the run's processes start
    count = given.processes
    sums = {0: 20.0, 1: 8 + 12 / count, 2: 4 + 16 / count}
    with tempfile.TemporaryDirectory() as folder:
        model, parameters = _model(Path(folder) / "model", given.hidden, given.layers)
        print(f"{parameters / 1e6:.0f}M parameters, {count} processes, bytes a parameter:")
        for stage, needed in sums.items():
            spec = _spec(model, given.steps, given.accumulation * count, given.accumulation)
            held = _held(spec, Path(folder) / str(stage), Resources(processes=count, zero_stage=stage))
            print(f"zero_stage {stage}: {held / parameters:5.2f}   has to be there {needed:5.2f}", flush=True)
    return 0


def _model(folder: Path, hidden: int, layers: int) -> tuple[Path, int]:
    """A Qwen2 of random weights, and how many."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = load_model("lab").tokenizer()
    torch.manual_seed(0)
    heads = hidden // 64
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=4 * hidden, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, model.num_parameters()


def _spec(model: Path, steps: int, rows: int, accumulation: int) -> RunSpec:
    """A row a micro-batch, and one item at the end."""
    return RunSpec(
        method=find_method("sft").resolve({"examples": 64, "batch_size": rows}),
        task=find_task("countdown").resolve({"level": "L0"}),
        model=load_model(str(model)).reference(),
        budget=Budget(steps=steps),
        evaluation=EvaluationProtocol(split="test", items=1, max_new_tokens=4, curve_points=0),
        training=Training(accumulation=accumulation),
        seed=0,
    )


def _held(spec: RunSpec, runs: Path, resources: Resources) -> float:
    """The most bytes that one process held in its updates, beyond what it had before them."""
    directory = RunDirectory.of(runs, spec)
    directory.path.mkdir(parents=True)
    directory.spec.write_text(spec.model_dump_json())
    executor = LocalExecutor(1, threads=1, gpus=0, processes=resources.processes, zero_stage=resources.zero_stage)
    handle = executor.submit(directory.path)
    watch = _Watch(handle.pid, directory)
    watch.start()
    while handle.poll() is None:
        time.sleep(_LOOK_SECONDS)
    watch.join()
    executor.close()
    if directory.error.exists():
        raise SystemExit(directory.error.read_text())
    return watch.most - watch.least


class _Watch(threading.Thread):
    """Looks at the processes of a run until it ends: the least that the larger of them held between the beginning of
    its stage and the first update, and the most that one held after the warm updates."""

    def __init__(self, pid: int, directory: RunDirectory) -> None:
        super().__init__()
        self.pid, self.directory = pid, directory
        self.least, self.most = float("inf"), 0.0

    def run(self) -> None:
        while (resident := _resident(self.pid)) is not None:
            time.sleep(_LOOK_SECONDS)
            events = list(read_events(self.directory.events)) if self.directory.events.exists() else []
            kinds = [event["kind"] for event in events]
            if "stage_end" in kinds:
                return
            updates = kinds.count("metrics")
            if "stage_start" in kinds and not updates:
                self.least = min(self.least, resident)
            if updates > _FIRST:
                self.most = max(self.most, resident)


def _resident(pid: int) -> float | None:
    """Bytes of its own that the largest of a process and all below it has, None when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    own = next((float(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon")), 0.0)
    return max(own, *(_resident(int(one)) or 0.0 for one in below), 0.0)


if __name__ == "__main__":
    raise SystemExit(main())
