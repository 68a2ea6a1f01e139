"""Prompt and answer as TRL's columns: text stays text, chat stays messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.contracts import PreferenceTask, Prompt

if TYPE_CHECKING:
    from harness.context import StageContext


def completion_columns(prompt: Prompt, answer: str) -> dict[str, Any]:
    """`prompt` and `completion` in the form of `prompt`."""
    return {"prompt": prompt, "completion": as_answer(prompt, answer)}


def as_answer(prompt: Prompt, answer: str) -> Any:
    """`answer` as text, or as the assistant's turn after a chat prompt."""
    return answer if isinstance(prompt, str) else [{"role": "assistant", "content": answer}]


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
