"""What the page can ask for: who is served, questions of the tasks, answers, pairs and votes; and OpenAI's interface.

Plain calls with JSON in and out, apart from HTTP. Everything that answers does so through an engine; nothing is
generated here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from harness.errors import UserError, unknown
from harness.frozen import Frozen
from harness.preference_record import Asked, Choice
from harness.spec import EvaluationProtocol, ModelReference
from serving import metrics
from serving.ballots import Ballots
from serving.questions import Question, Questions, Settings, Words, asked, readable, request_of
from serving.served import Served
from serving.upstream import Piece, read, stream

PAGE = Path(__file__).parent / "page.html"
M = TypeVar("M", bound=BaseModel)


class AskOne(Frozen):
    """An answer of a model whose name is known."""

    model: str
    prompt: Words
    settings: Settings


class AskTwo(Frozen):
    """Two answers of models drawn from `among`, or from all."""

    prompt: Words
    settings: Settings
    among: list[str] = Field(default_factory=list)


class Vote(Frozen):
    """What a person says of a pair."""

    pair: str
    choice: Choice


class Draw(Frozen):
    """A question of a task, please."""

    task: str


@dataclass
class Site:
    """One server: what it serves, and from where."""

    served: Sequence[Served]
    sockets: Mapping[str, Path]
    """Of the engine behind every model, by its name; the base's first."""
    questions: Questions
    file: Path
    """Where votes go."""
    base: ModelReference
    engine: str
    defaults: EvaluationProtocol
    """How the runs were scored: what the page begins with."""
    ends: Sequence[int] = ()
    page: str = field(default_factory=lambda: PAGE.read_text(encoding="utf-8"))

    @cached_property
    def page_version(self) -> str:
        return hashlib.sha256(self.page.encode()).hexdigest()[:12]

    @cached_property
    def ballots(self) -> Ballots:
        return Ballots(self.served, self._pieces, self.file, self.base, self.engine, self.page_version)

    def about(self) -> dict[str, Any]:
        """What the page shows before anything is asked."""
        models = [{"name": one.name, "run": one.run_id, "method": one.method, "form": one.form} for one in self.served]
        tasks = [{"name": one.label, "max_new_tokens": one.max_new_tokens} for one in self.questions.topics.values()]
        shown = {"temperature": self.defaults.temperature, "top_p": self.defaults.top_p}
        return {
            "models": models,
            "tasks": tasks,
            "chat": self.questions.chat,
            "settings": {**shown, "max_new_tokens": tasks[0]["max_new_tokens"] if tasks else 256},
            "votes": self.ballots.count,
            "page": self.page_version,
        }

    def draw(self, body: bytes) -> dict[str, Any]:
        """A question of a task."""
        wanted = parsed(Draw, body)
        number, question = self.questions.draw(wanted.task)
        return {"task": wanted.task, "item": number, "text": readable(question.prompt)}

    def answer(self, body: bytes) -> Iterator[Piece]:
        """The answer of one model."""
        wanted = parsed(AskOne, body)
        found = next((one for one in self.served if one.name == wanted.model), None)
        if found is None:
            raise unknown("model served here", wanted.model, self.sockets)
        question = self.questions.question(wanted.prompt)
        return self._pieces(found, question, asked(wanted.settings, question))

    def draw_pair(self, body: bytes) -> dict[str, Any]:
        """A pair of models that will answer the same."""
        wanted = parsed(AskTwo, body)
        question = self.questions.question(wanted.prompt)
        return {"pair": self.ballots.draw(question, asked(wanted.settings, question), wanted.among).vote}

    def answer_of_pair(self, pair: str, side: Literal["a", "b"]) -> Iterator[Piece]:
        """What one of them writes."""
        return self.ballots.answer(pair, side)

    def vote(self, body: bytes) -> dict[str, Any]:
        """Take a vote, and tell who was who."""
        wanted = parsed(Vote, body)
        said = self.ballots.vote(wanted.pair, wanted.choice)
        return {
            "choice": said.choice,
            "a": said.a.name,
            "b": said.b.name,
            "verdicts": self.ballots.verdicts(wanted.pair),
            "votes": self.ballots.count,
            "file": str(self.file),
        }

    def socket_of(self, body: bytes | None) -> Path:
        """The engine for a request of OpenAI's interface: that of the model it names, else the base's."""
        first = next(iter(self.sockets.values()))
        if not body:
            return first
        try:
            name = json.loads(body).get("model")
        except (ValueError, AttributeError, RecursionError):
            raise UserError("The body is no JSON object.") from None
        if name is None:
            return first
        if name not in self.sockets:
            raise LookupError(str(unknown("model served here", name, self.sockets)))
        return self.sockets[name]

    def models(self) -> dict[str, Any]:
        """OpenAI's list of models, of all engines."""
        found: list[Any] = []
        for socket in dict.fromkeys(self.sockets.values()):
            found += json.loads(read(socket, "/v1/models"))["data"]
        return {"object": "list", "data": found}

    def metrics(self) -> str:
        """The engines' metrics in Prometheus's text format."""
        engines: dict[Path, str] = {}
        for name, socket in self.sockets.items():
            engines.setdefault(socket, name)
        pages = {name: read(socket, "/metrics").decode() for socket, name in engines.items()}
        return metrics.together(pages)

    def _pieces(self, model: Served, question: Question, how: Asked) -> Iterator[Piece]:
        target, request = request_of(question, how, model.name, self.ends)
        return stream(self.sockets[model.name], target, request)


def parsed(kind: type[M], body: bytes) -> M:
    """A request's body; UserError in one sentence if it is something else."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"The request is not possible: {f'{where}: ' if where else ''}{first['msg'].lower()}."
        ) from None
