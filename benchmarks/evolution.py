"""Evolution on this machine, as ratios measured side by side in one run, medians of five.

    python -m benchmarks.evolution [--quick] [--out FILE]

1. A batched generation of members (LoRA-ES of rank 1 and 8, EGGROLL of rank 1) against the plain model on the same
   engine with the same rows, at hidden sizes of 512 and more (random weights in Qwen2's shape) and on the lab model.
2. The same against evaluating one member after another as the published code does: disturb all searched weights in
   place, answer, subtract the noise again; over the size of the population and of the batch of prompts. Beside it what
   batching can give at most: the plain model with all rows in one batch against as many small batches, no noise at all.
3. What the update of a whole generation and its noise take of an iteration; noise against torch.randn.
4. Memory beyond the model: measured by what is allocated, against what is searched.

Answers are made to be of equal length (no end token), so that tokens are the same for all; one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from harness.contracts import Sampling
from harness.engines.layout import Layout, LowRank
from harness.engines.queue import Queue
from harness.engines.side_path import Members, members_of
from harness.models import load_model
from harness.noise import Noise
from methods.optimisers.perturbation import Perturbation

ROUNDS = 5
_CLOCK = time.process_time
"""Processor seconds of this process, on one thread: what neighbours on a shared machine do does not count."""
POPULATION, PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 32, 16, 12, 12
"""A generation that a user would choose on a small machine: 512 rows."""


def model_of(hidden: int, layers: int) -> Any:
    """Random weights in Qwen2's shape; the lab model for a hidden size of 0."""
    if hidden == 0:
        return load_model("lab").model().eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=2048, hidden_size=hidden, intermediate_size=hidden * 11 // 4 // 64 * 64,
            num_hidden_layers=layers, num_attention_heads=hidden // 64, num_key_value_heads=2,
        )  # fmt: skip
        return Qwen2ForCausalLM(config).eval()


def with_lora(model: Any, rank: int) -> Any:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=rank, target_modules="all-linear")).eval()


def generate(model: Any, members: Members, count: int, prompts: list[list[int]], rows: int = 512) -> None:
    """Every member answers every prompt with NEW_TOKENS tokens."""
    sampling = Sampling(NEW_TOKENS, 0.0)
    if members:
        with members_of(model, members, count) as layout:
            Queue(model, prompts, sampling, (), 0, layout, rows, None, False).run()
    else:
        layout = Layout(1, torch.device("cpu"))
        Queue(model, prompts * count, sampling, (), 0, layout, rows, None, False).run()


def prompts_of(count: int) -> list[list[int]]:
    random = torch.Generator().manual_seed(count)
    return torch.randint(5, 900, (count, PROMPT_TOKENS), generator=random).tolist()


def side_by_side(arms: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each arm, taken in turn, after one round that is not counted."""
    seen: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, run in arms.items():
            begun = _CLOCK()
            run()
            if number:
                seen[name].append(_CLOCK() - begun)
    return {name: statistics.median(values) for name, values in seen.items()}


def perturbed(
    model: Any, kind: str, rank: int, population: int
) -> tuple[Perturbation, Members, dict[str, torch.Tensor]]:
    """A generation's noise, its members' tensors and the searched master of `model`."""
    if kind == "lora":
        tensors = {n: t for n, t in model.named_parameters() if "lora_" in n}
    else:
        linear = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "head" not in n}
        tensors = {n: t for n, t in model.named_parameters() if n in linear}
    master = {name: tensor.detach().float().clone() for name, tensor in tensors.items()}
    shapes = {name: tensor.shape for name, tensor in master.items()}
    low = kind == "eggroll"
    search = Perturbation(0, shapes, population, "low-rank" if low else "gaussian", rank, mirrored=low)
    search.begin(0)
    return search, search.members(master, 1e-3, range(population), master), master


def against_plain(hidden: int, layers: int) -> Iterator[dict[str, Any]]:
    """Tokens per second of a generation as a share of the plain model's."""
    prompts = prompts_of(PROMPTS)
    plain = model_of(hidden, layers)
    tokens = POPULATION * len(prompts) * NEW_TOKENS
    arms: dict[str, Callable[[], object]] = {"plain": lambda: generate(plain, {}, POPULATION, prompts)}
    kept = []
    for kind, rank in (("lora", 1), ("lora", 8), ("eggroll", 1)):
        model = model_of(hidden, layers)
        model = with_lora(model, rank) if kind == "lora" else model
        _, members, _ = perturbed(model, kind, rank, POPULATION)
        kept.append((model, members))
        arms[f"{kind} r{rank}"] = lambda model=model, members=members: generate(model, members, POPULATION, prompts)
    seconds = side_by_side(arms)
    for name, value in seconds.items():
        if name != "plain":
            yield {
                "hidden": hidden or "lab", "arm": name, "share_of_plain": seconds["plain"] / value,
                "tokens_per_second": tokens / value, "plain_tokens_per_second": tokens / seconds["plain"],
            }  # fmt: skip


def noise_and_generation(
    model: Any, search: Perturbation, master: dict[str, torch.Tensor], population: int, prompts: list[list[int]]
) -> None:
    """A whole evaluation from fresh noise on."""
    search.begin(search.iteration + 1)
    generate(model, search.members(master, 1e-3, range(population), master), population, prompts)


def one_by_one(model: Any, names: list[str], population: int, prompts: list[list[int]], sigma: float) -> None:
    """Disturb in place by seed, answer, subtract: what the published code does for every member."""
    engine, layout = dict(model.named_parameters()), Layout(1, torch.device("cpu"))
    for member in range(population):
        for sign in (1.0, -1.0):
            for place, name in enumerate(names):
                generator = torch.Generator().manual_seed(1000 * member + place)
                tensor = engine[name].data
                tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=sign * sigma)
            if sign == 1.0:
                Queue(model, prompts, Sampling(NEW_TOKENS, 0.0), (), 0, layout, 512, None, False).run()


def apart(model: Any, population: int, prompts: list[list[int]]) -> None:
    """The plain model answers the prompts once for each member, a batch each time."""
    for _ in range(population):
        generate(model, {}, 1, prompts)


def against_loop(hidden: int, layers: int, cells: list[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    """How many times faster a batched generation is, over population and prompts."""
    plain = model_of(hidden, layers)
    for kind in ("lora", "eggroll"):
        model = model_of(hidden, layers)
        model = with_lora(model, 8) if kind == "lora" else model
        for population, batch in cells:
            prompts = prompts_of(batch)
            search, _, master = perturbed(model, kind, 8 if kind == "lora" else 1, population)
            arms = {
                "batched": partial(noise_and_generation, model, search, master, population, prompts),
                "loop": partial(one_by_one, model, list(master), population, prompts, 1e-3),
                "together": partial(generate, plain, {}, population, prompts),
                "apart": partial(apart, plain, population, prompts),
            }
            seconds = side_by_side(arms)
            yield {
                "hidden": hidden or "lab", "arm": kind, "population": population, "prompts": batch,
                "times_faster": seconds["loop"] / seconds["batched"],
                "plain_batching_alone": seconds["apart"] / seconds["together"],
            }  # fmt: skip


def update_share(hidden: int, layers: int) -> Iterator[dict[str, Any]]:
    """Making the members and moving the master, as shares of an iteration with its generation."""
    import numpy as np

    prompts = prompts_of(PROMPTS)
    weights = np.random.default_rng(0).normal(size=POPULATION)
    for kind, rank in (("lora", 8), ("eggroll", 1)):
        model = model_of(hidden, layers)
        model = with_lora(model, rank) if kind == "lora" else model
        search, members, master = perturbed(model, kind, rank, POPULATION)
        count = iter(range(10**6))

        def make(search: Perturbation = search, master: dict = master, count: Iterator[int] = count) -> None:
            search.begin(next(count))
            search.members(master, 1e-3, range(POPULATION), master)

        def move(search: Perturbation = search, master: dict = master) -> None:
            for name, total in search.total(weights, list(master), torch.device("cpu")):
                master[name].add_(total, alpha=1e-9)

        seconds = side_by_side(
            {"make": make, "move": move, "generate": partial(generate, model, members, POPULATION, prompts)}
        )
        whole = sum(seconds.values())
        yield {
            "hidden": hidden or "lab", "arm": f"{kind} r{rank}", "noise_share": seconds["make"] / whole,
            "update_share": seconds["move"] / whole,
        }  # fmt: skip


def noise_speed() -> dict[str, Any]:
    noise = Noise(0, ["a"])
    seconds = side_by_side(
        {"ours": lambda: noise.normal(0, 0, "a", (2_000_000,)), "torch": lambda: torch.randn(2_000_000)}
    )
    return {
        "nanoseconds_a_normal": seconds["ours"] / 2e6 * 1e9,
        "times_torch_randn": seconds["ours"] / seconds["torch"],
    }


def memory(hidden: int, layers: int) -> Iterator[dict[str, Any]]:
    """Bytes of everything a generation holds beyond the model: float32 master, noise bank, the members' own tensors."""
    for kind, rank in (("lora", 8), ("eggroll", 1)):
        model = model_of(hidden, layers)
        base = {id(tensor) for tensor in model.parameters()}
        base_bytes = _bytes(model.parameters())
        model = with_lora(model, rank) if kind == "lora" else model
        search, members, master = perturbed(model, kind, rank, POPULATION)
        own = [part for one in members.values() for part in ([one.down, one.up] if isinstance(one, LowRank) else [one])]
        yield {
            "hidden": hidden or "lab", "arm": f"{kind} r{rank}", "base_mb": base_bytes / 2**20,
            "adapter_mb": _bytes(t for t in model.parameters() if id(t) not in base) / 2**20,
            "master_mb": _bytes(master.values()) / 2**20, "noise_mb": _bytes(search._bank.values()) / 2**20,
            "members_mb": _bytes(own) / 2**20,
        }  # fmt: skip


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes allocated for tensors, storage that several share counted once."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the lab model and the smallest hidden size alone")
    parser.add_argument("--out", type=Path, help="write the rows as JSON lines")
    given = parser.parse_args()
    torch.set_num_threads(1)
    sizes = [(0, 0), (512, 1)] if given.quick else [(0, 0), (512, 2), (896, 1)]
    rows: list[dict[str, Any]] = []

    def say(title: str, found: Iterator[dict[str, Any]]) -> None:
        print(f"\n{title}")
        for row in found:
            rows.append({"table": title, **row})
            cells = (f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
            print("  " + "   ".join(cells), flush=True)

    print(f"one thread, processor seconds; population {POPULATION}, {PROMPTS} prompts of {PROMPT_TOKENS} tokens, "
          f"{NEW_TOKENS} new tokens")  # fmt: skip
    for hidden, layers in sizes:
        say(f"generation against the plain model, hidden {hidden or 'lab'}", against_plain(hidden, layers))
        say(f"update and noise, hidden {hidden or 'lab'}", update_share(hidden, layers))
        say(f"memory, hidden {hidden or 'lab'}", memory(hidden, layers))
    curve = [(1, 2), (8, 2), (32, 2), (32, 6), (32, 16), (256, 2)]
    say("generation against one member at a time, lab", against_loop(0, 0, curve))
    say("generation against one member at a time, hidden 512", against_loop(512, 2, [(32, 2), (32, 6)]))
    say("noise", iter([noise_speed()]))
    if given.out is not None:
        given.out.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
