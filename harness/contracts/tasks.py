"""What a task must offer: questions, prompts and grades, and what more it can give to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

Split = Literal["train", "val", "test"]
Message = dict[str, str]
Prompt = str | list[Message]
Offer = Literal["demonstrations", "verifier", "preferences", "documents", "descriptions"]
"""What a task can offer: gold completions, a grader of completions, pairs of a better and a worse completion (made by
sampling and grading where there is a grader), documents, descriptions of itself."""
Control = Literal["shuffled", "constant"]
"""A negative control: what is done to a run's training signal, see `harness.control`."""


class TaskRefusal(str):
    """What a component's `refuses` says when the task is the reason: the nearest method that can is then named.

    A plain sentence is about a setting or the machine and says itself what to change.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One question. `id` is the hash of its canonical content; `data` is what the task needs to ask and grade it."""

    id: str
    split: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grade:
    """The verdict on one completion. `correct` is accuracy; `reward` is what training sees; they never mix.

    `measures` are further named figures about the same answer that are reported beside accuracy and never instead of
    it (GSM8K's strict and flexible reading, F1, the score of one part of a mixture): means over the answers that have
    them.
    """

    correct: bool
    reward: float
    well_formed: bool
    reason: str
    parsed: str | None = None
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Likelihood:
    """How likely a model finds a continuation: the summed log-probability of its tokens (nats), how many tokens they
    are, and whether each of them was the likeliest."""

    logprob: float
    tokens: int
    greedy: bool


@runtime_checkable
class Task(Protocol):
    """What a model is asked and how an answer is graded. Pure: the same item and text give the same grade."""

    name: str
    version: int
    offers: frozenset[Offer]
    max_new_tokens: int
    stop: str | None

    def items(self, split: str, n: int | None = None) -> Sequence[Item]:
        """The first `n` items of a split (all of a finite one if None), always in the same order."""
        ...

    def prompt(self, item: Item) -> Prompt:
        """What the model reads: text, or chat messages for chat models."""
        ...

    def grade(self, item: Item, completion: str) -> Grade:
        """Grade the completion alone (never the prompt); never raises, never executes it."""
        ...

    def demonstration(self, item: Item) -> str:
        """A gold completion; only where `offers` has 'demonstrations'. It grades correct."""
        ...


@runtime_checkable
class PreferenceTask(Protocol):
    """A task (it has all of `Task`) whose data hold a better and a worse completion of each question."""

    def preference(self, item: Item) -> tuple[str, str]:
        """The chosen and the rejected completion; only where `offers` has 'preferences'."""
        ...


@runtime_checkable
class TextTask(Protocol):
    """A task (it has all of `Task`) each of whose items comes with a text: a description of what is asked, or a
    document. A generator reads the text and the model does not."""

    def text(self, item: Item) -> str:
        """The description or the document of an item."""
        ...

    def subject(self, item: Item) -> Sequence[str]:
        """The parts of what the text says, as words to compare: a text that shares none of them is a mismatch."""
        ...

    def prompt_with(self, item: Item, text: str) -> Prompt:
        """What the model reads with `text` in it; without any text if that is empty."""
        ...


@runtime_checkable
class LikelihoodTask(Protocol):
    """A task (it has all of `Task`) that is scored by the likelihood of given texts, not by what the model writes."""

    def continuations(self, item: Item) -> Sequence[tuple[Prompt, str]]:
        """Pairs of a context (text, or chat messages) and the text whose likelihood after it counts; an empty context
        begins the text."""
        ...

    def judge(self, item: Item, likelihoods: Sequence[Likelihood]) -> Grade:
        """Grade an item by the likelihoods of its continuations, in their order."""
        ...
