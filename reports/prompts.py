"""Prompts as people read them: what the database holds of chat messages is JSON."""

from __future__ import annotations

import json


def readable(prompt: str) -> str:
    """A prompt of chat messages as their texts, one below the other; any other as it is."""
    if not prompt.startswith("["):
        return prompt
    try:
        messages = json.loads(prompt)
    except json.JSONDecodeError:
        return prompt
    if not all(isinstance(one, dict) and {"role", "content"} <= set(one) for one in messages):
        return prompt
    return "\n".join(f"{one['role']}: {one['content']}" for one in messages)
