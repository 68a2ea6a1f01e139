"""Prompt and answer as TRL's columns: text stays text, chat stays messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.contracts import PreferenceTask, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from harness.context import StageContext


def completion_columns(prompt: Prompt, answer: str) -> dict[str, Any]:
    """`prompt` and `completion` in the form of `prompt`."""
    return {"prompt": prompt, "completion": as_answer(prompt, answer)}


def as_answer(prompt: Prompt, answer: str) -> Any:
    """`answer` as text, or as the assistant's turn after a chat prompt."""
    return answer if isinstance(prompt, str) else [{"role": "assistant", "content": answer}]


def of_one_form(tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows `prompt`, `completion` as they are, or all as text where some are text and some are chat."""
    if len({isinstance(row["prompt"], str) for row in rows}) < 2:
        return list(rows)
    return [rendered(tokenizer, row) for row in rows]


def rendered(tokenizer: PreTrainedTokenizerBase, row: dict[str, Any]) -> dict[str, Any]:
    """A row as text: chat in the model's own template, an end token at its very end left to whoever tokenises."""
    if isinstance(row["prompt"], str):
        return row
    before = str(tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False))
    whole = str(tokenizer.apply_chat_template([*row["prompt"], *row["completion"]], tokenize=False))
    answer = whole.removeprefix(before) if whole.startswith(before) else row["completion"][-1]["content"]
    return {"prompt": before, "completion": answer.rstrip().removesuffix(str(tokenizer.eos_token))}


def given_pairs(stage: StageContext, items: int) -> list[dict[str, Any]] | None:
    """Rows `prompt`, `chosen`, `rejected` of a task whose data hold preferences; None for any other task."""
    task = stage.task
    if "preferences" not in task.offers or not isinstance(task, PreferenceTask):
        return None
    rows = []
    for item in stage.train_items(items):
        prompt = task.prompt(item)
        chosen, rejected = (as_answer(prompt, text) for text in task.preference(item))
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    stage.run.events.write("pairs", given=True, pairs=len(rows))
    return rows
