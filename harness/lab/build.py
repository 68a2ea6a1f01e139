"""Pre-train a lab model from its recipe: generated passages, length-sorted batches, AdamW, one pass.

The loss is taken on answers (and on plain text), never on prompts. Everything follows from the recipe's seed; the
result is a transformers directory (`config.json`, `model.safetensors`, tokenizer) with the recipe beside it.
"""

from __future__ import annotations

import importlib
import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from harness.lab.recipe import Phase, Recipe
from harness.lab.tokenizer import train_tokenizer

_POOL = 4096  # passages drawn, sorted by length and cut into batches at a time
_TOKENIZER_PASSAGES = 20_000
Row = tuple[list[int], list[int]]
"""Token ids of a prompt and of its answer."""


def build(
    recipe: Recipe, directory: Path, log: Callable[[str], None] = print, checkpoint_tokens: int = 2_000_000
) -> Path:
    """Train the model of `recipe` into `directory`, saving every `checkpoint_tokens` so that it can be looked at."""
    tokenizer = train_tokenizer(_texts(recipe), recipe.vocab_size, recipe.window)
    torch.manual_seed(recipe.seed)
    model = Qwen2ForCausalLM(_config(recipe, tokenizer))
    log(f"{recipe.name}: {model.num_parameters():,} parameters, vocabulary {len(tokenizer)}")
    for number, phase in enumerate(recipe.phases):
        for seen in train_phase(model, tokenizer, recipe, number, log):
            if seen // checkpoint_tokens > (seen - recipe.batch_tokens) // checkpoint_tokens or seen >= phase.tokens:
                _save(model, tokenizer, recipe, directory)
    return directory


def train_phase(
    model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, recipe: Recipe, number: int, log: Callable[[str], None]
) -> Iterator[int]:
    """Train through phase `number`; yields the tokens seen in it after every update."""
    phase = recipe.phases[number]
    optimizer = torch.optim.AdamW(
        _groups(model, recipe.weight_decay), lr=phase.learning_rate, betas=(0.9, 0.98), foreach=True
    )
    seen, started, running = 0, time.perf_counter(), math.nan
    for step, (input_ids, labels) in enumerate(_batches(recipe, number, tokenizer), start=1):
        for group in optimizer.param_groups:
            group["lr"] = phase.learning_rate * _schedule(seen, recipe.batch_tokens, phase)
        loss = model(input_ids=input_ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen += int((input_ids != tokenizer.pad_token_id).sum())
        value = loss.item()
        running = value if math.isnan(running) else 0.98 * running + 0.02 * value
        if step % 100 == 0:
            rate = seen / (time.perf_counter() - started)
            log(f"phase {number} step {step} tokens {seen:,} loss {running:.4f} {rate:,.0f} tokens/s")
        yield seen
        if seen >= phase.tokens:
            return


def _save(model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, recipe: Recipe, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    (directory / "recipe.json").write_text(recipe.model_dump_json(indent=1) + "\n")


def _config(recipe: Recipe, tokenizer: Qwen2Tokenizer) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.window,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]


def _schedule(seen: int, batch_tokens: int, phase: Phase) -> float:
    if seen < phase.warmup_tokens:
        return (seen + batch_tokens) / (phase.warmup_tokens + batch_tokens)
    progress = min(1.0, (seen - phase.warmup_tokens) / max(1, phase.tokens - phase.warmup_tokens))
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress))


def _sampler(phase: Phase, rng: random.Random) -> Callable[[], Any]:
    """Draws a passage of the phase's mixture."""
    modules = [importlib.import_module(name) for name in phase.families]
    shares = list(phase.families.values())
    return lambda: rng.choices(modules, shares)[0].sample(rng)


def _texts(recipe: Recipe) -> Iterator[str]:
    """What the tokenizer learns from: the first phase's mixture."""
    draw = _sampler(recipe.phases[0], random.Random(f"{recipe.seed}:tokenizer"))
    for _ in range(_TOKENIZER_PASSAGES):
        passage = draw()
        yield passage.prompt + passage.answer


def _batches(recipe: Recipe, number: int, tokenizer: Qwen2Tokenizer) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless `input_ids`, `labels` of shape [rows, tokens]; prompts and padding are labelled -100."""
    rng = random.Random(f"{recipe.seed}:corpus" + (f":{number}" if number else ""))
    draw = _sampler(recipe.phases[number], rng)
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    while True:
        passages = [draw() for _ in range(_POOL)]
        prompts = [ids.ids for ids in tokenizer.backend_tokenizer.encode_batch([p.prompt for p in passages])]
        answers = [ids.ids for ids in tokenizer.backend_tokenizer.encode_batch([p.answer for p in passages])]
        rows = [(q, [*a, end]) for q, a in zip(prompts, answers, strict=True) if len(q) + len(a) < recipe.window]
        rows.sort(key=lambda row: len(row[0]) + len(row[1]))
        batches = _cut(rows, recipe.batch_tokens)
        rng.shuffle(batches)
        for batch in batches:
            width = max(len(q) + len(a) for q, a in batch)
            ids = torch.full((len(batch), width), pad)
            labels = torch.full((len(batch), width), -100)
            for i, (q, a) in enumerate(batch):
                ids[i, : len(q) + len(a)] = torch.tensor(q + a)
                labels[i, len(q) : len(q) + len(a)] = torch.tensor(a)
            yield ids, labels


def _cut(rows: list[Row], batch_tokens: int) -> list[list[Row]]:
    """Rows of rising length, cut into batches of at most `batch_tokens` tokens with their padding."""
    batches: list[list[Row]] = []
    batch: list[Row] = []
    for row in rows:
        if batch and (len(batch) + 1) * (len(row[0]) + len(row[1])) > batch_tokens:
            batches.append(batch)
            batch = []
        batch.append(row)
    return [*batches, batch]
