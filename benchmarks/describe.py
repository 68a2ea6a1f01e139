"""What it takes to have an adapter from a description, and to keep adapters: measured side by side in one run.

    python -m benchmarks.describe RUN [--repeats 30]

RUN is the directory of a finished run of `t2l`. Its hypernetwork writes the adapters of its task's test descriptions,
one at a time and all in one batch, the encoder's reading included; files are written as PEFT does, and their bytes
stand against those of the one hypernetwork. Medians; on a processor, seconds are those that the one thread had.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.internalise import timed
from harness.contracts import Resources
from harness.generators import WEIGHTS, find_generator
from harness.record import RunDirectory
from harness.registry import load_task
from methods.generators.encoders import encoder_for

_ITEMS = 400


def main() -> int:
    """Print the figures."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path)
    arguments.add_argument("--repeats", type=int, default=30)
    given = arguments.parse_args()
    torch.set_num_threads(Resources().threads)
    handle, spec = find_generator(given.run), RunDirectory(given.run).read_spec()
    base = handle.base()
    model: Any = handle.open(base.model().eval(), base.tokenizer())
    task: Any = load_task(spec.task.name, **spec.task.parameters)
    described = task.described("test", _ITEMS)
    texts = [one.descriptions[0] for one in described]
    trained = len(task.described("train", spec.method.parameters["examples"]))

    network, reads = model.hypernetwork, handle.configuration

    def fresh(some: list[str]) -> Any:
        """By an encoder that remembers no text that was read before."""
        network.encoder = encoder_for(model.base, reads["encoder"], reads["pooling"])
        with torch.inference_mode():
            return model.write(some)

    alone = statistics.median(timed(lambda: fresh(texts[:1])) for _ in range(given.repeats))
    together = statistics.median(timed(lambda: fresh(texts)) for _ in range(given.repeats))
    with tempfile.TemporaryDirectory() as folder:
        fresh(texts).adapter(0, base.name).write(Path(folder))
        adapter = sum(file.stat().st_size for file in Path(folder).iterdir())
    whole = (handle.folder / WEIGHTS).stat().st_size
    print(f"an adapter alone {1e3 * alone:.1f} ms; {len(texts)} in one batch {1e3 * together / len(texts):.1f} ms each")
    print(f"hypernetwork {whole:,} bytes, an adapter {adapter:,} bytes: as much as {whole / adapter:.0f} adapters")
    print(
        f"{trained} training tasks and {len(texts)} tested ones as files: {(trained + len(texts)) * adapter:,} bytes, "
        f"{(trained + len(texts)) * adapter / whole:.2f} times the hypernetwork"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
