"""The card of a lab model: what it can do untouched, measured on val and on held-out probes, beside its weights.

`card.json` holds the figures, `README.md` the same for people. Tasks and levels are those that the recipe names; a
family without a task is measured on its own probes, one that is plain text by its perplexity.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from harness.atomic import write_json, write_text
from harness.contracts import Sampling
from harness.engines.hf import HFEngine
from harness.lab.recipe import Recipe
from harness.registry import load_task
from harness.streams import stream

ITEMS = 500
"""Questions a level, or all there are."""
SAMPLES = 4


def write_card(recipe: Recipe, directory: Path, log: Callable[[str], None] = print) -> None:
    """Measure the model in `directory` and write its card there."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(directory).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    engine = HFEngine(model, tokenizer)
    tasks = []
    for task_name, levels in recipe.measured.items():
        for level in levels:
            tasks.append({"task": task_name, "level": level, **_of_task(engine, task_name, level)})
            log(f"{task_name} {level}: {tasks[-1]['greedy']:.1%} greedy, {tasks[-1]['sampled']:.1%} sampled")
    families = []
    for name in recipe.probed:
        families.append({"family": _short(name), **_of_family(engine, importlib.import_module(name))})
        log(str(families[-1]))
    parameters = sum(tensor.numel() for tensor in model.parameters())
    record = {"name": recipe.name, "parameters": parameters, "tasks": tasks, "families": families}
    write_json(directory / "card.json", record)
    write_text(directory / "README.md", _readme(recipe, record))


def _of_task(engine: HFEngine, name: str, level: str) -> dict[str, float | int]:
    """Accuracy on the first val items: greedy, and the mean of samples at temperature 1."""
    task = load_task(name, level=level)
    items = task.items("val", None)[:ITEMS]
    prompts = [task.prompt(item) for item in items]

    def accuracy(temperature: float, seed: int) -> float:
        answers = engine.generate(prompts, Sampling(task.max_new_tokens, temperature, 1.0, task.stop), seed)
        right = [task.grade(item, answer.text).correct for item, answer in zip(items, answers, strict=True)]
        return sum(right) / len(right)

    sampled = [accuracy(1.0, stream(0, "card", sample)) for sample in range(SAMPLES)]
    return {"items": len(items), "greedy": accuracy(0.0, 0), "sampled": sum(sampled) / SAMPLES}


def _of_family(engine: HFEngine, family: Any) -> dict[str, float | int]:
    """Greedy accuracy on held-out probes; for plain text the perplexity per token."""
    probes = family.probes(ITEMS)
    if any(not probe.prompt for probe in probes):
        return {"items": len(probes), "perplexity": _perplexity(engine, [probe.answer for probe in probes])}
    answers = engine.generate([probe.prompt for probe in probes], Sampling(256, 0.0), 0)
    right = [family.correct(probe, answer.text) for probe, answer in zip(probes, answers, strict=True)]
    return {"items": len(probes), "greedy": sum(right) / len(right)}


@torch.no_grad()
def _perplexity(engine: HFEngine, texts: list[str]) -> float:
    """exp of the mean negative log-likelihood of every token after the first."""
    total, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([engine.tokenizer(text).input_ids])
        total += float(engine.model(ids, labels=ids).loss) * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    return math.exp(total / count)


def _short(family: str) -> str:
    """`sudoku` for tasks.sudoku.corpus, `filler` for tasks.corpus.filler."""
    return family.replace(".corpus", "").rsplit(".", 1)[-1]


def _readme(recipe: Recipe, record: dict[str, Any]) -> str:
    """The card for people."""
    rows = []
    for task in record["tasks"]:
        scores = f"{task['greedy']:.1%} | {task['sampled']:.1%}"
        rows.append(f"| {task['task']} {task['level']} | {scores} | {task['items']} |")
    probes = [
        f"| {f['family']} | {f['greedy']:.1%} greedy | {f['items']} |"
        if "greedy" in f
        else f"| {f['family']} | perplexity {f['perplexity']:.2f} | {f['items']} |"
        for f in record["families"]
    ]
    phases = [
        f"{number}. {phase.tokens / 1e6:g}M tokens, peak learning rate {phase.learning_rate:g}: "
        + ", ".join(f"{name} {share:.0%}" for name, share in phase.families.items())
        for number, phase in enumerate(recipe.phases, start=1)
    ]
    lines = [
        f"# {recipe.name}",
        "",
        f"A Qwen2 model of {record['parameters']:,} parameters ({recipe.layers} layers, width {recipe.hidden_size}), "
        "trained from nothing on generated text, to try post-training methods on a CPU. It is good for nothing else.",
        "",
        "## What it can do untouched",
        "",
        *(_task_table(rows) if rows else ()),
        f"Held-out probes of the {'other ' if rows else ''}families in its mixture:",
        "",
        "| family | score | probes |",
        "| :-- | --: | --: |",
        *probes,
        "",
        "## How it was made",
        "",
        *phases,
        "",
        f"Seed {recipe.seed}. `beyondrl lab build {recipe.name}` makes it again; figures in `card.json`.",
    ]
    return "\n".join(lines) + "\n"


def _task_table(rows: list[str]) -> list[str]:
    return [
        f"Val split, zero-shot; sampled is the mean of {SAMPLES} samples at temperature 1. No val or test question, "
        "nor any with the same canonical content, was in its training text.",
        "",
        "| task | greedy | sampled | questions |",
        "| :-- | --: | --: | --: |",
        *rows,
        "",
    ]
