"""Memory and time of the embedded engine on prompts far longer than most: are its batches bounded?

    python -m benchmarks.long_prompts [--model lab-reader] [--prompts 40] [--windows 8]

Documents of `facts` with their questions, answered greedily with 8 new tokens on one thread. Memory is the peak of this
process, the model and the libraries included; seconds are the processor's.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch

from harness.contracts import Sampling
from harness.engines.hf import HFEngine, encode
from harness.models import load_model
from harness.registry import load_task


def main() -> None:
    """Print prompts, tokens, peak memory and seconds."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", default="lab-reader")
    arguments.add_argument("--prompts", type=int, default=40)
    arguments.add_argument("--windows", type=float, default=8.0)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    handle = load_model(given.model)
    engine = HFEngine(handle.model().eval(), handle.tokenizer())
    task = load_task("facts", level="F0", windows=given.windows)
    prompts = [task.prompt(item) for item in task.items("test", given.prompts)]
    tokens = sorted(len(encode(engine.tokenizer, prompt)) for prompt in prompts)
    began = time.process_time()
    engine.generate(prompts, Sampling(8, 0.0, 1.0, task.stop), 0)
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(
        f"{len(prompts)} prompts of {tokens[0]:,} to {tokens[-1]:,} tokens: {peak:,.0f} MB at the peak, {seconds:.1f} s"
    )


if __name__ == "__main__":
    main()
