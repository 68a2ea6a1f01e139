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

from harness.lab.recipe import Recipe
from harness.lab.tokenizer import train_tokenizer

_POOL = 4096  # passages drawn, sorted by length and cut into batches at a time
_TOKENIZER_PASSAGES = 20_000


def build(
    recipe: Recipe, directory: Path, log: Callable[[str], None] = print, checkpoint_tokens: int = 2_000_000
) -> Path:
    """Train the model of `recipe` into `directory`, saving every `checkpoint_tokens` so that it can be looked at."""
    families = {name: importlib.import_module(name) for name in recipe.families}
    tokenizer = train_tokenizer(_texts(recipe, families), recipe.vocab_size, recipe.window)
    torch.manual_seed(recipe.seed)
    model = Qwen2ForCausalLM(_config(recipe, tokenizer))
    log(f"{recipe.name}: {model.num_parameters():,} parameters, vocabulary {len(tokenizer)}")
    optimizer = torch.optim.AdamW(
        _groups(model, recipe.weight_decay), lr=recipe.learning_rate, betas=(0.9, 0.98), foreach=True
    )
    seen, step, started, saved, running = 0, 0, time.perf_counter(), 0, math.nan
    for input_ids, labels in _batches(recipe, families, tokenizer):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(seen, recipe)
        loss = model(input_ids=input_ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen += int((input_ids != tokenizer.pad_token_id).sum())
        step += 1
        value = loss.item()
        running = value if math.isnan(running) else 0.98 * running + 0.02 * value
        if step % 100 == 0:
            rate = seen / (time.perf_counter() - started)
            log(f"step {step} tokens {seen:,} loss {running:.4f} {rate:,.0f} tokens/s")
        if seen - saved >= checkpoint_tokens or seen >= recipe.tokens:
            saved = seen
            _save(model, tokenizer, recipe, directory)
        if seen >= recipe.tokens:
            return directory
    raise AssertionError("the batches never end")


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


def _schedule(seen: int, recipe: Recipe) -> float:
    if seen < recipe.warmup_tokens:
        return (seen + recipe.batch_tokens) / (recipe.warmup_tokens + recipe.batch_tokens)
    progress = min(1.0, (seen - recipe.warmup_tokens) / max(1, recipe.tokens - recipe.warmup_tokens))
    return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress))


def _texts(recipe: Recipe, families: dict[str, Any]) -> Iterator[str]:
    rng = random.Random(f"{recipe.seed}:tokenizer")
    for _ in range(_TOKENIZER_PASSAGES):
        passage = families[_pick(recipe, rng)].sample(rng)
        yield passage.prompt + passage.answer


def _pick(recipe: Recipe, rng: random.Random) -> str:
    return rng.choices(list(recipe.families), list(recipe.families.values()))[0]


def _batches(
    recipe: Recipe, families: dict[str, Any], tokenizer: Qwen2Tokenizer
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless `input_ids`, `labels` of shape [rows, tokens]; prompts and padding are labelled -100."""
    rng = random.Random(f"{recipe.seed}:corpus")
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    while True:
        passages = [families[_pick(recipe, rng)].sample(rng) for _ in range(_POOL)]
        prompts = [ids.ids for ids in tokenizer.backend_tokenizer.encode_batch([p.prompt for p in passages])]
        answers = [ids.ids for ids in tokenizer.backend_tokenizer.encode_batch([p.answer for p in passages])]
        rows = [(q, [*a, end]) for q, a in zip(prompts, answers, strict=True) if len(q) + len(a) < recipe.window]
        rows.sort(key=lambda row: len(row[0]) + len(row[1]))
        batches, batch = [], []
        for row in rows:
            longest = len(row[0]) + len(row[1])
            if batch and (len(batch) + 1) * longest > recipe.batch_tokens:
                batches.append(batch)
                batch = []
            batch.append(row)
        batches.append(batch)
        rng.shuffle(batches)
        for batch in batches:
            width = max(len(q) + len(a) for q, a in batch)
            ids = torch.full((len(batch), width), pad)
            labels = torch.full((len(batch), width), -100)
            for i, (q, a) in enumerate(batch):
                ids[i, : len(q) + len(a)] = torch.tensor(q + a)
                labels[i, len(q) : len(q) + len(a)] = torch.tensor(a)
            yield ids, labels
