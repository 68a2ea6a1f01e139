"""Kron-LoRA, the squeeze and sparse MoA, as ratios to what they compete with, side by side in one run.

    python benchmarks/adapters.py [--repeats 5] [--full-svd]

`kron` is one training step of a 4096 x 4096 linear layer on 8 x 256 tokens (float32, frozen base, gradient to the
input): Kron-LoRA against PEFT's LoRA of the same rank and PEFT's LoKr. `squeeze` is a 4096 x 4096 adapter from rank 64
to 8: against the dense update and its randomised SVD (10 oversampling, 2 power iterations), and with --full-svd against
the dense full SVD of PEFT's converter, which takes minutes and is measured once. `moa` is a sparse mixture's experts
against soft ones over the share of (token, expert) pairs that is active. What is compared alternates; figures are
medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from harness.contracts import Resources
from harness.lora_files import LowRank
from methods.transforms.squeeze import OVERSAMPLING, POWER_ITERATIONS, squeeze

SIZE, ROWS, TOKENS, RANK = 4096, 8, 256, 8
SOURCE, TARGET = 64, 8
GOALS = {"kron / lora": 1.08, "lokr / kron": 2.0, "dense sketch / squeeze": 8.0, "full svd / squeeze": 300.0}


def main() -> int:
    """Print times and ratios; exit code 1 if a ratio misses its goal."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--full-svd", action="store_true")
    arguments.add_argument("--only", choices=["kron", "squeeze", "moa"])
    given = arguments.parse_args()
    torch.set_num_threads(Resources().threads)
    torch.manual_seed(0)
    ratios: dict[str, float] = {}
    if given.only in (None, "squeeze"):
        ratios |= _squeezes(given.repeats, given.full_svd)
    if given.only in (None, "moa"):
        _mixtures(given.repeats)
    if given.only in (None, "kron"):
        ratios |= _steps(given.repeats)
    missed = 0
    for name, ratio in ratios.items():
        good = ratio <= GOALS[name] if name.startswith("kron") else ratio >= GOALS[name]
        missed += not good
        goal = f"{'<=' if name.startswith('kron') else '>='} {GOALS[name]:g}"
        print(f"{name:24} {ratio:8.2f}  goal {goal}{'' if good else '  MISSED'}")
    return int(missed > 0)


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(SIZE, SIZE, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def _steps(repeats: int) -> dict[str, float]:
    """Forward and backward of one adapted layer."""
    from peft import LoKrConfig, LoraConfig, get_peft_model

    from methods.tuners.kron_lora import KronLoraConfig

    configs = {
        "lora": LoraConfig(r=RANK, target_modules=["layer"]),
        "kron": KronLoraConfig(r=RANK, inner=2, outer=16, target_modules=["layer"]),
        "lokr": LoKrConfig(r=RANK, decompose_factor=4, target_modules=["layer"]),
    }
    base = _Layer()
    x = torch.randn(ROWS, TOKENS, SIZE, requires_grad=True)
    upstream = torch.randn(ROWS, TOKENS, SIZE)

    def step(model: Any) -> None:
        model(x).backward(upstream)
        x.grad = None
        model.zero_grad(set_to_none=True)

    models = {}
    for name, config in configs.items():
        fresh = _Layer()
        fresh.layer.weight = base.layer.weight
        models[name] = get_peft_model(fresh, config)
    times = _alternate({name: lambda model=model: step(model) for name, model in models.items()}, repeats)
    return {"kron / lora": times["kron"] / times["lora"], "lokr / kron": times["lokr"] / times["kron"]}


def _squeezes(repeats: int, full: bool) -> dict[str, float]:
    """One module from rank 64 to 8, by three routes; the errors of all against the optimum."""
    source = LowRank(torch.randn(SIZE, SOURCE), torch.randn(SOURCE, SIZE), 1.0)

    def sketched() -> torch.Tensor:
        dense = source.up @ source.down
        basis = torch.linalg.qr(dense @ torch.randn(SIZE, TARGET + OVERSAMPLING)).Q
        for _ in range(POWER_ITERATIONS):
            basis = torch.linalg.qr(dense.T @ basis).Q
            basis = torch.linalg.qr(dense @ basis).Q
        u, s, vh = torch.linalg.svd(basis.T @ dense, full_matrices=False)
        return (basis @ u[:, :TARGET] * s[:TARGET]) @ vh[:TARGET]

    times = _alternate({"squeeze": lambda: squeeze(source, TARGET), "dense sketch": sketched}, 3 * repeats)
    done = squeeze(source, TARGET)
    dense = source.up.double() @ source.down.double()
    least = float((squeeze(source, TARGET).singular_values[TARGET:] ** 2).sum().sqrt())
    for name, result in (("squeeze", done.module.dense()), ("dense sketch", sketched().double())):
        print(f"{name:14} error / optimum {float((dense - result).norm()) / least:.9f}")
    ratios = {"dense sketch / squeeze": times["dense sketch"] / times["squeeze"]}
    if full:
        start = time.perf_counter()
        torch.linalg.svd(source.up @ source.down, full_matrices=False)
        seconds = time.perf_counter() - start
        print(f"{'full svd':14} {seconds:10.4f} s (once)")
        ratios["full svd / squeeze"] = seconds / times["squeeze"]
    return ratios


def _mixtures(repeats: int) -> None:
    """A sparse mixture's experts at some shares of active pairs, over the same experts soft."""
    from methods.tuners.experts import LowRankExpert
    from methods.tuners.moa import Mixture

    class Bare(Mixture):
        """One large expert and its gates, without a block around it."""

        def __init__(self, sparse: bool) -> None:
            nn.Module.__init__(self)
            self.sparse, self.order = sparse, ["one"]
            self.lora = nn.ModuleDict({"one": LowRankExpert(SIZE, SIZE, RANK, 1.0)})

    x, output = torch.randn(ROWS, TOKENS, SIZE), torch.randn(ROWS, TOKENS, SIZE)
    soft, sparse = Bare(False), Bare(True)
    for share in (1.0, 0.5, 0.25, 0.1, 0.0):
        gates = torch.rand(ROWS, TOKENS, 1)
        kept = gates * (torch.rand(ROWS, TOKENS, 1) < share)

        def forward(mixture: Bare, weights: torch.Tensor) -> None:
            with torch.no_grad():
                mixture.added_to(output, "one", weights, x)

        times = _alternate(
            {"soft": lambda g=gates: forward(soft, g), "sparse": lambda g=kept: forward(sparse, g)},
            3 * repeats,
            quiet=True,
        )
        print(f"moa: {share:4.0%} active: sparse / soft {times['sparse'] / times['soft']:.2f}")


def _alternate(runs: dict[str, Callable[[], Any]], repeats: int, quiet: bool = False) -> dict[str, float]:
    """The median seconds of each, one after another in every repeat; the first of all is left out."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat:
                found[name].append(time.perf_counter() - start)
    for name, times in found.items():
        if not quiet:
            print(
                f"{name:14} {statistics.median(times):10.4f} s ({min(times):.4f} to {max(times):.4f}, n {len(times)})"
            )
    return {name: statistics.median(times) for name, times in found.items()}


if __name__ == "__main__":
    raise SystemExit(main())
