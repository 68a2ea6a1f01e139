"""Rows of a user's JSONL in the field's usual columns, each turned into a conversation and its gold answers.

    prompt, answer              a question and its answer, or a list of answers; `completion` may hold a worked one
    prompt, completion          TRL's columns for supervised fine-tuning
    prompt, chosen, rejected    TRL's columns for preferences; without prompt, conversations that part at the last turn
    messages                    a conversation that ends with the assistant's turn
    instruction, input, output  Alpaca's columns; input may be empty

A prompt is text or messages. An `id` column is checked for repetitions. `Columns` gives the first of these kinds, and
the prompt of preferences, other names.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from harness.contracts import Message
from tasks.records import Record

_ROLES = ("system", "user", "assistant")
_WAYS = (
    "prompt and answer; prompt, chosen and rejected; messages; or instruction and output; other names for prompt and "
    "answer are told by prompt_column and answer_column"
)


class Columns(NamedTuple):
    """The user's own names of the question and of its answer; None where they are the usual ones."""

    prompt: str | None = None
    answer: str | None = None

    @property
    def asked(self) -> str:
        return self.prompt or "prompt"

    @property
    def gold(self) -> str:
        return self.answer or "answer"


USUAL = Columns()
"""The field's names."""


class Row(NamedTuple):
    """One question: a conversation that ends with the user's turn, and what is a right answer to it."""

    record: Record
    messages: list[Message]
    answers: list[str]
    completion: str | None = None
    """A worked answer to learn from, where it is not the answer itself."""
    rejected: str | None = None
    context: str | None = None

    @property
    def question(self) -> str:
        """The conversation as text: what decides the split and, with the answers to choose from, the identity."""
        said = "\n".join(f"{turn['role']}: {turn['content']}" for turn in self.messages)
        return f"{said}\n{self.context}" if self.context else said


def read_row(record: Record, columns: Columns = USUAL) -> Row:
    """The row of a record; UserError with its file and line for what is wrong with it."""
    data, named = record.data, columns != USUAL
    if "messages" in data and not named:
        *asked, last = _messages(record, "messages", data["messages"], ending="assistant")
        return Row(record, asked, [last["content"]])
    if ("chosen" in data or "rejected" in data) and columns.answer is None:
        return _preference(record, columns)
    if "instruction" in data and not named:
        context = _text(record, "input") if data.get("input") else None
        return Row(record, _user(_text(record, "instruction")), [_text(record, "output")], context=context)
    if columns.asked not in data:
        there = ", ".join(sorted(data)) or "none"
        raise record.fail(f"no column {columns.asked!r} (there is: {there}); a row has {_WAYS}")
    messages = _prompt(record, columns)
    completion = _last_turn(record, "completion") if "completion" in data else None
    if columns.gold not in data:
        if completion is None or columns.answer is not None:
            there = ", ".join(sorted(data))
            raise record.fail(f"no column {columns.gold!r} beside the prompt (there is: {there}); a row has {_WAYS}")
        return Row(record, messages, [completion])
    return Row(record, messages, _answers(record, columns.gold), completion)


def _preference(record: Record, columns: Columns) -> Row:
    if columns.asked in record.data or columns.prompt is not None:
        messages = _prompt(record, columns)
    else:
        both = [_messages(record, name, record.data.get(name), ending="assistant") for name in ("chosen", "rejected")]
        if both[0][:-1] != both[1][:-1]:
            raise record.fail("chosen and rejected differ before their last turn, and there is no column 'prompt'")
        messages = both[0][:-1]
    chosen, rejected = _last_turn(record, "chosen"), _last_turn(record, "rejected")
    if chosen == rejected:
        raise record.fail("chosen and rejected are the same")
    return Row(record, messages, [chosen], rejected=rejected)


def _prompt(record: Record, columns: Columns) -> list[Message]:
    if isinstance(record.data.get(columns.asked), list):
        return _messages(record, columns.asked, record.data[columns.asked], ending="user")
    return _user(_text(record, columns.asked))


def _user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def _text(record: Record, name: str) -> str:
    if name not in record.data:
        raise record.fail(f"no column {name!r} (there is: {', '.join(sorted(record.data))})")
    value = record.data[name]
    if not isinstance(value, str) or not value.strip():
        raise record.fail(f"column {name!r} holds {value!r:.80}, not text that says something")
    return value


def _answers(record: Record, name: str) -> list[str]:
    value = record.data[name]
    values = value if isinstance(value, list) else [value]
    if not values:
        raise record.fail(f"column {name!r} is an empty list")
    for one in values:
        if isinstance(one, bool) or not isinstance(one, str | int | float) or not str(one).strip():
            raise record.fail(f"column {name!r} holds {one!r:.80}, not text or a number")
    return [str(one) for one in values]


def _last_turn(record: Record, name: str) -> str:
    """Text, or the content of the assistant's last turn."""
    if isinstance(record.data.get(name), list):
        return _messages(record, name, record.data[name], ending="assistant")[-1]["content"]
    return _text(record, name)


def _messages(record: Record, name: str, value: Any, ending: str) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise record.fail(f"column {name!r} holds {value!r:.80}, not a list of messages")
    messages = [_message(record, name, number, one) for number, one in enumerate(value)]
    if messages[-1]["role"] != ending:
        raise record.fail(f"{name} ends with the turn of the {messages[-1]['role']}, not of the {ending}")
    if name == "messages" and not any(one["role"] == "user" for one in messages):
        raise record.fail("messages has no turn of the user")
    return messages


def _message(record: Record, name: str, number: int, value: Any) -> Message:
    role, content = (value.get("role"), value.get("content")) if isinstance(value, dict) else (None, None)
    if role not in _ROLES or not isinstance(content, str) or not content.strip():
        raise record.fail(
            f"{name}[{number}] is no message: it needs a role ({', '.join(_ROLES)}) and a text as content"
        )
    return {"role": role, "content": content}
