"""Prompt and answer as TRL's columns: text stays text, chat stays messages."""

from __future__ import annotations

from typing import Any

from harness.contracts import Prompt


def completion_columns(prompt: Prompt, answer: str) -> dict[str, Any]:
    """`prompt` and `completion` in the form of `prompt`."""
    return {"prompt": prompt, "completion": as_answer(prompt, answer)}


def as_answer(prompt: Prompt, answer: str) -> Any:
    """`answer` as text, or as the assistant's turn after a chat prompt."""
    return answer if isinstance(prompt, str) else [{"role": "assistant", "content": answer}]
