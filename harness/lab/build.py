"""Pre-train a lab model from its recipe: generated passages, length-sorted batches, AdamW, one pass.

The loss is taken on answers (and on plain text), never on prompts. A gated phase makes its families harder, stage by
stage, when the model answers held-out probes of the present one. Everything follows from the recipe's seed; the
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

from harness.contracts import Sampling
from harness.engines.hf import HFEngine
from harness.lab.recipe import Phase, Recipe
from harness.lab.tokenizer import train_tokenizer

_TOKENIZER_PASSAGES = 20_000
_GATE_STEPS = 100
_GATE_PROBES = 128
Row = tuple[list[int], list[int]]
"""Token ids of a passage and their labels."""


def build(
    recipe: Recipe, directory: Path, log: Callable[[str], None] = print, checkpoint_tokens: int = 2_000_000
) -> Path:
    """Train the model of `recipe` into `directory`, saving every `checkpoint_tokens` so that it can be looked at."""
    tokenizer = train_tokenizer(_texts(recipe), recipe.vocab_size, recipe.window)
    torch.manual_seed(recipe.seed)
    model = Qwen2ForCausalLM(_config(recipe, tokenizer))
    _initialise(model, recipe)
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
    stages = _first_stages(phase)
    seen, started, running = 0, time.perf_counter(), math.nan
    for step, (input_ids, labels) in enumerate(_batches(recipe, number, tokenizer, stages), start=1):
        for group in optimizer.param_groups:
            group["lr"] = phase.learning_rate * _schedule(seen, recipe.batch_tokens, phase)
        loss = _loss(model, input_ids, labels) if recipe.batch_rows else model(input_ids=input_ids, labels=labels).loss
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
        if stages and step % _GATE_STEPS == 0:
            _step_up(HFEngine(model, tokenizer), phase, stages, log)
        yield seen
        if seen >= phase.tokens:
            return


def _loss(model: Qwen2ForCausalLM, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The model's own loss, without the cost of logits where nothing is labelled."""
    following = labels[:, 1:]
    hidden = model.model(input_ids=input_ids).last_hidden_state[:, :-1]
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[following != -100]), following[following != -100])


def _first_stages(phase: Phase) -> dict[str, int]:
    """Stage 0 for the families of a gated phase that have stages."""
    if phase.gate is None:
        return {}
    return {name: 0 for name in phase.families if hasattr(importlib.import_module(name), "STAGES")}


def _step_up(engine: HFEngine, phase: Phase, stages: dict[str, int], log: Callable[[str], None]) -> None:
    """Take every family whose probes pass the gate to its next stage."""
    for name, stage in stages.items():
        family = importlib.import_module(name)
        probes = family.probes(_GATE_PROBES, stage=stage)
        answers = engine.generate([probe.prompt for probe in probes], Sampling(16, 0.0), 0)
        right = sum(family.correct(probe, answer.text) for probe, answer in zip(probes, answers, strict=True))
        log(f"{name} stage {stage}: {right / len(probes):.1%}")
        if right >= (phase.gate or 0.0) * len(probes) and stage + 1 < family.STAGES:
            stages[name] += 1


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
        tie_word_embeddings=recipe.tie_embeddings,
        initializer_range=recipe.initializer_range,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


@torch.no_grad()
def _initialise(model: Qwen2ForCausalLM, recipe: Recipe) -> None:
    """The parts of the first weights that transformers' own initialisation does not offer."""
    if recipe.embedding_range is not None:
        model.model.embed_tokens.weight.mul_(recipe.embedding_range / recipe.initializer_range)
    if not recipe.look_back:
        return
    attention = model.model.layers[0].self_attn
    attention.q_proj.weight.mul_(0.1)
    attention.k_proj.weight.mul_(0.1)
    angles = model.model.rotary_emb.inv_freq  # the rotation from one place to the next
    queries, keys = (p.bias.view(recipe.heads, 2, len(angles)) for p in (attention.q_proj, attention.k_proj))
    keys[:, 0] = recipe.look_back
    for head in range(recipe.heads):  # turned back by head + 1 places, where a key's bias then meets the query's
        queries[head, 0] = recipe.look_back * torch.cos(angles * (head + 1))
        queries[head, 1] = -recipe.look_back * torch.sin(angles * (head + 1))


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


def _sampler(phase: Phase, rng: random.Random, stages: dict[str, int]) -> Callable[[], Any]:
    """Draws a passage of the phase's mixture, at the families' present `stages`."""
    modules = {name: importlib.import_module(name) for name in phase.families}
    shares = list(phase.families.values())

    def draw() -> Any:
        name = rng.choices(list(modules), shares)[0]
        return modules[name].sample(rng, stages[name]) if name in stages else modules[name].sample(rng)

    return draw


def _texts(recipe: Recipe) -> Iterator[str]:
    """What the tokenizer learns from: the first phase's mixture."""
    draw = _sampler(recipe.phases[0], random.Random(f"{recipe.seed}:tokenizer"), {})
    for _ in range(_TOKENIZER_PASSAGES):
        yield draw().text


def _batches(
    recipe: Recipe, number: int, tokenizer: Qwen2Tokenizer, stages: dict[str, int]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless `input_ids`, `labels` of shape [rows, tokens]; prompts and padding are labelled -100."""
    rng = random.Random(f"{recipe.seed}:corpus" + (f":{number}" if number else ""))
    draw = _sampler(recipe.phases[number], rng, stages)
    while True:
        rows = [_row(draw(), tokenizer) for _ in range(recipe.pool)]
        rows = sorted((row for row in rows if len(row[0]) <= recipe.window), key=lambda row: len(row[0]))
        batches = _cut(rows, recipe.batch_tokens, recipe.batch_rows or recipe.pool)
        rng.shuffle(batches)
        for batch in batches:
            width = max(len(ids) for ids, _ in batch)
            input_ids = torch.full((len(batch), width), tokenizer.pad_token_id)
            labels = torch.full((len(batch), width), -100)
            for i, (ids, learnt) in enumerate(batch):
                input_ids[i, : len(ids)] = torch.tensor(ids)
                labels[i, : len(ids)] = torch.tensor(learnt)
            yield input_ids, labels


def _row(passage: Any, tokenizer: Qwen2Tokenizer) -> Row:
    """A passage in tokens, an end-of-text token after it; its prompts are labelled -100."""
    ids: list[int] = []
    labels: list[int] = []
    for prompt, answer in passage.turns:
        read, learnt = (tokenizer.backend_tokenizer.encode(text).ids for text in (prompt, answer))
        ids += read + learnt
        labels += [-100] * len(read) + learnt
    return [*ids, tokenizer.eos_token_id], [*labels, tokenizer.eos_token_id]


def _cut(rows: list[Row], batch_tokens: int, batch_rows: int) -> list[list[Row]]:
    """Rows of rising length, cut into batches of at most `batch_rows` rows and `batch_tokens` tokens with padding."""
    batches: list[list[Row]] = []
    batch: list[Row] = []
    for row in rows:
        if batch and (len(batch) == batch_rows or (len(batch) + 1) * len(row[0]) > batch_tokens):
            batches.append(batch)
            batch = []
        batch.append(row)
    return [*batches, batch]
