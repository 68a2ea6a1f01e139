"""Completions as a reward model reads them: prompt, completion in steps, and the end token where the policy ended.

Steps are tokenised one by one, in training and in scoring alike, so that the last token of each is a token of its own;
an outcome reward model reads a completion as one step. A truncated completion has no end token: it shows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from harness.contracts import Prompt


class Read(NamedTuple):
    """Token ids of prompt and completion, and where in them each step ends."""

    ids: list[int]
    ends: list[int]


def steps_of(text: str, delimiter: str | None) -> list[str]:
    """`text` cut after every `delimiter`; empty steps are left out, and there is always one."""
    if delimiter is None:
        return [text]
    pieces = text.split(delimiter)
    steps = [piece + delimiter for piece in pieces[:-1]] + [pieces[-1]]
    return [step for step in steps if step] or [text]


def read_as(tokenizer: Any, prompt: Prompt, steps: list[str], truncated: bool) -> Read:
    """What the reward model sees; the end token belongs to the last step."""
    from harness.engines.hf import encode

    ids, ends = encode(tokenizer, prompt), []
    for number, step in enumerate(steps, start=1):
        ids += tokenizer(step, add_special_tokens=False).input_ids
        if number == len(steps) and not truncated:
            ids.append(tokenizer.eos_token_id)
        ends.append(len(ids) - 1)
    return Read(ids, ends)
