"""The form of a task's questions, found from examples: how to show some to a model and how to read what it writes.

What all questions begin and end with (cut at a word's edge) is the task's form, what lies between is the question
proper. A text task is shown as it is trained: question and answer, the end token after each, and the form's beginning
once more; what stands before the form's end is then the new question, what stands after it the answer. Where questions
share no end, and in chat, `Question:` and `Answer:` are written instead.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from harness.contracts import Message, Prompt

_ASK = (
    "Here are questions of one kind, each with its answer.\n\n{examples}\n\n"
    "Write one new question of this kind, unlike these, and its answer, in the same form and with nothing else."
)
_MARKED = re.compile(r"\s*Question:(.*?)\nAnswer:(.*)", re.DOTALL)


@dataclass(frozen=True)
class Form:
    """What the questions of a task share; `before` holds the turns before a chat question, None stands for text."""

    opening: str
    closing: str
    before: tuple[Message, ...] | None

    @property
    def marked(self) -> bool:
        """Whether questions and answers are told apart by words, not by the form."""
        return self.before is not None or not self.closing.strip()

    def body(self, prompt: Prompt) -> str:
        """A question without its form."""
        said = _said(prompt)
        return said[len(self.opening) : len(said) - len(self.closing)]

    def prompt(self, body: str) -> Prompt:
        """A question in its form: what the model is asked."""
        said = f"{self.opening}{body}{self.closing}"
        return said if self.before is None else [*self.before, {"role": "user", "content": said}]

    def show(self, examples: Sequence[tuple[str, str]], end: str) -> Prompt:
        """What makes a model write one more of the `examples`, pairs of a question's body and an answer."""
        if not self.marked:
            return "".join(f"{self.prompt(body)}{answer}{end}" for body, answer in examples) + self.opening
        shown = "\n\n".join(f"Question: {body.strip()}\nAnswer: {answer.strip()}" for body, answer in examples)
        if self.before is None:
            return f"{shown}\n\nQuestion:"
        return [{"role": "user", "content": _ASK.format(examples=shown)}]

    def read(self, text: str) -> tuple[str, str] | None:
        """The body and the answer that a model wrote; None if it kept to no form or wrote more than one."""
        if self.marked:
            found = _MARKED.fullmatch(text if self.before is not None else f"Question:{text}")
            body, answer = found.groups() if found is not None else ("", "")
            body, answer, again = body.strip(), answer.strip(), "Question:"
        else:
            body, _, answer = text.partition(self.closing)
            again = self.closing
        whole = bool(body.strip()) and bool(answer.strip()) and again not in answer
        return (body, answer) if whole else None


def form_of(prompts: Sequence[Prompt]) -> Form:
    """The form that all of these questions share; of a single one nothing is known, so it has none."""
    said = [_said(prompt) for prompt in prompts]
    opening = closing = ""
    if len(set(said)) > 1:
        opening = re.sub(r"\w+\Z", "", _common(said)).rstrip()
        rest = [text[len(opening) :][::-1] for text in said]
        closing = re.sub(r"\A\w+", "", _common(rest)[::-1])
    first: Any = prompts[0]
    return Form(opening, closing, None if isinstance(first, str) else tuple(first[:-1]))


def _common(texts: Sequence[str]) -> str:
    """What all texts begin with, sign by sign."""
    first, last = min(texts), max(texts)
    return first[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))]


def _said(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]
