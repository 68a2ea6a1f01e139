"""What is asked: a person's own words, or a question of the runs' tasks, always of val and never of test.

Where a task asks in chat messages, so does a person here, and the model's own template makes the prompt; where it asks
in plain text, words go to the model as they are. Stops and token limits are the task's, ends those of the evaluation.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from harness.chat import turn_end
from harness.contracts import Item, LikelihoodTask, Prompt, Task
from harness.errors import UserError, unknown
from harness.frozen import Frozen
from harness.plan import items_there
from harness.preference_record import Asked
from harness.registry import find_task
from harness.spec import Component, RunSpec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ITEMS = 200
"""Of val: the first ones, as tuning sees them."""


class Turn(Frozen):
    """A message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class Words(Frozen):
    """What the page sends: a question of a task by its number, or words after the chat so far."""

    task: str | None = None
    item: int | None = Field(None, ge=0)
    text: str = ""
    history: list[Turn] = Field(default_factory=list)


class Settings(Frozen):
    """How it wants to have it answered; without a seed one is drawn."""

    temperature: float = Field(ge=0, le=2)
    top_p: float = Field(gt=0, le=1)
    max_new_tokens: int = Field(ge=1, le=1_000_000)
    seed: int | None = Field(None, ge=0, lt=2**31)


@dataclass(frozen=True)
class Question:
    """What a model is asked, and where it comes from."""

    prompt: Prompt
    topic: Topic | None
    item: Item | None

    @property
    def stop(self) -> str | None:
        return None if self.topic is None else self.topic.task.stop

    def verdict(self, completion: str) -> str | None:
        """What the task's grader says of an answer; None for a person's own words, and where nothing can grade."""
        if self.topic is None or self.item is None or "verifier" not in self.topic.task.offers:
            return None
        try:
            grade = self.topic.task.grade(self.item, completion)
        except UserError:  # a judge that does not answer
            return None
        return "right" if grade.correct else f"wrong ({grade.reason})"


@dataclass(frozen=True)
class Topic:
    """A task that at least one of the runs was trained on."""

    label: str
    component: Component
    task: Task
    max_new_tokens: int

    @cached_property
    def items(self) -> Sequence[Item]:
        return list(self.task.items("val", items_there(self.task, "val", ITEMS)))


class Questions:
    """The tasks of some runs."""

    def __init__(self, specs: Sequence[RunSpec], has_chat_template: bool) -> None:
        self.topics: dict[str, Topic] = {}
        self.missing: dict[str, str] = {}
        """Tasks that cannot be asked from here, with the reason."""
        chats = []
        for spec in specs:
            label = _label(spec.task)
            if label in self.topics or label in self.missing:
                continue
            try:
                task = find_task(spec.task.name).create(**spec.task.parameters)
                if isinstance(task, LikelihoodTask):
                    raise UserError(f"{label} is scored by likelihoods: nothing is written")
                topic = Topic(label, spec.task, task, spec.evaluation.max_new_tokens or task.max_new_tokens)
                chats.append(not isinstance(task.prompt(topic.items[0]), str))
            except (UserError, OSError) as error:
                self.missing[label] = str(error)
                continue
            self.topics[label] = topic
        self.chat = any(chats) if chats else has_chat_template
        """Whether a person's words are a chat."""

    def draw(self, label: str) -> tuple[int, Question]:
        """A question of a task and its number."""
        topic = self._topic(label)
        number = random.SystemRandom().randrange(len(topic.items))
        return number, self._of_val(topic, number)

    def question(self, words: Words) -> Question:
        """What `words` ask; UserError if that is nothing."""
        topic = None if words.task is None else self._topic(words.task)
        if words.item is not None:
            if topic is None or words.item >= len(topic.items):
                raise UserError(f"There is no question {words.item} of {words.task!r} on val here.")
            return self._of_val(topic, words.item)
        if not words.text.strip():
            raise UserError("There is nothing to answer: write something, or take a question of the task.")
        if not self.chat:
            return Question(words.text, topic, None)
        turns = [*words.history, Turn(role="user", content=words.text)]
        return Question([turn.model_dump() for turn in turns], topic, None)

    def _topic(self, label: str) -> Topic:
        if label not in self.topics:
            raise unknown("task of these runs", label, self.topics)
        return self.topics[label]

    def _of_val(self, topic: Topic, number: int) -> Question:
        item = topic.items[number]
        return Question(topic.task.prompt(item), topic, item)


def asked(settings: Settings, question: Question) -> Asked:
    """The settings of an answer, with a seed drawn where none was given."""
    seed = random.SystemRandom().randrange(2**31) if settings.seed is None else settings.seed
    return Asked(**settings.model_dump(exclude={"seed"}), seed=seed, stop=question.stop)


def request_of(question: Question, how: Asked, name: str, ends: Sequence[int]) -> tuple[str, dict[str, Any]]:
    """OpenAI's endpoint and request for an answer of the model `name`."""
    request = {
        "model": name,
        "temperature": how.temperature,
        "top_p": how.top_p,
        "max_tokens": how.max_new_tokens,
        "seed": how.seed,
        "stop": how.stop,
        "stop_token_ids": list(ends),
    }
    if isinstance(question.prompt, str):
        return "/v1/completions", {**request, "prompt": question.prompt}
    return "/v1/chat/completions", {**request, "messages": question.prompt}


def readable(prompt: Prompt) -> str:
    """A prompt as a person reads it: a single message is its text."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return prompt[0]["content"]
    return "\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def ends_of(folder: Path, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Every token that ends an answer: the tokenizer's, those of the model's generation config, the chat template's."""
    listed: list[int | None] = []
    for name in ("generation_config.json", "config.json"):
        if (folder / name).exists():
            found = json.loads((folder / name).read_text()).get("eos_token_id")
            listed = found if isinstance(found, list) else [found]
            break
    return sorted({one for one in [tokenizer.eos_token_id, *listed, turn_end(tokenizer)] if one is not None})


def _label(task: Component) -> str:
    """`countdown level=L2`: the name, and the parameters that are not the task's own defaults."""
    own: Mapping[str, Any]
    try:
        own = find_task(task.name).resolve({}).parameters
    except UserError:  # it is not installed, which whoever creates it says
        own = {}
    given = [f"{key}={value}" for key, value in task.parameters.items() if own.get(key) != value]
    return " ".join([task.name, *given])
