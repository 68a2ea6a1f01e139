"""Prompt templates by name: how messages become what a model reads.

`model` leaves messages to the model's own chat template. `plain` is the bare text of a single question. alpaca,
chatml and llama-2 are texts in the published formats (Taori et al. 2023; OpenAI's ChatML; Touvron et al. 2023, arXiv
2307.09288), for base models and for checkpoints that were tuned on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from harness.contracts import Message, Prompt

Template = Literal["model", "plain", "alpaca", "chatml", "llama-2"]
STOPS: dict[str, str | None] = {
    "model": None,
    "plain": None,
    "alpaca": "\n### Instruction:",
    "chatml": "<|im_end|>",
    "llama-2": "</s>",
}
_ALPACA = "Below is an instruction that describes a task"
_ALPACA_INPUT = ", paired with an input that provides further context"
_ALPACA_END = ". Write a response that appropriately completes the request."


def render(template: Template, messages: Sequence[Message], context: str | None, system: str | None) -> Prompt:
    """The prompt of a conversation that ends with a user's turn.

    `context` is what an Alpaca record calls its input; `system` goes before, unless the conversation has its own.
    Raises ValueError, as a sentence, where the template has no place for the conversation.
    """
    if system is not None and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": system}, *messages]
    if template == "alpaca":
        return _alpaca(_only_turn(template, messages, systems=False), context)
    if context:
        last = messages[-1]
        messages = [*messages[:-1], {**last, "content": f"{last['content']}\n\n{context}"}]
    if template == "model":
        return list(messages)
    if template == "plain":
        return _only_turn(template, messages, systems=True)
    return _chatml(messages) if template == "chatml" else _llama2(messages)


def _only_turn(template: str, messages: Sequence[Message], systems: bool) -> str:
    if len(messages) == 2 and messages[0]["role"] == "system" and systems:
        return f"{messages[0]['content']}\n\n{messages[1]['content']}"
    if len(messages) != 1:
        raise ValueError(f"the template {template} holds one question and this is a conversation; use chatml or model")
    return messages[0]["content"]


def _alpaca(instruction: str, context: str | None) -> str:
    given = f"\n\n### Input:\n{context}" if context else ""
    head = f"{_ALPACA}{_ALPACA_INPUT if context else ''}{_ALPACA_END}"
    return f"{head}\n\n### Instruction:\n{instruction}{given}\n\n### Response:\n"


def _chatml(messages: Sequence[Message]) -> str:
    turns = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in messages)
    return f"{turns}<|im_start|>assistant\n"


def _llama2(messages: Sequence[Message]) -> str:
    """The first beginning-of-text token is the tokenizer's own."""
    system = f"<<SYS>>\n{messages[0]['content']}\n<</SYS>>\n\n" if messages[0]["role"] == "system" else ""
    turns = list(messages[1:] if system else messages)
    text = ""
    for number, turn in enumerate(turns):
        if turn["role"] == "user":
            begin = "<s>" if number else ""
            text += f"{begin}[INST] {'' if number else system}{turn['content'].strip()} [/INST]"
        else:
            text += f" {turn['content'].strip()} </s>"
    return text
