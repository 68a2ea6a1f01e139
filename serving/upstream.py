"""HTTP to an engine's Unix socket: a plain exchange, and an answer token by token from OpenAI's stream of events."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CONNECT_SECONDS = 5.0


class UpstreamError(Exception):
    """The engine refused or was not there; the text is a sentence."""

    def __init__(self, sentence: str, status: int = 502) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Piece:
    """Some text of an answer, or (`truncated` is not None) its end with the number of tokens."""

    text: str
    truncated: bool | None = None
    tokens: int | None = None


class Connection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_CONNECT_SECONDS)
        self.sock.connect(str(self.path))
        self.sock.settimeout(None)  # an answer may wait long for its turn; a dead engine closes its socket


def exchange(
    path: Path, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[Connection, http.client.HTTPResponse]:
    """Send a request and return the connection and its open response; UpstreamError where nobody answers."""
    connection = Connection(path)
    try:
        connection.request(method, target, body, dict(headers or {}))
        return connection, connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise UpstreamError(f"vLLM does not answer: {str(error) or type(error).__name__}.") from error


def reachable(path: Path) -> bool:
    """Whether an engine says that it is well."""
    try:
        connection, response = exchange(path, "GET", "/health")
    except UpstreamError:
        return False
    with closing(connection):
        return response.status == 200


def read(path: Path, target: str) -> bytes:
    """The body of a page; UpstreamError if there is none."""
    connection, response = exchange(path, "GET", target)
    with closing(connection):
        body = response.read()
        if response.status != 200:
            raise UpstreamError(f"vLLM answered {target} with status {response.status}.", response.status)
        return body


def stream(path: Path, target: str, request: Mapping[str, Any]) -> Iterator[Piece]:
    """The pieces of an answer; closing the iterator stops the engine's work on it."""
    body = json.dumps({**request, "stream": True, "stream_options": {"include_usage": True}}).encode()
    connection, response = exchange(path, "POST", target, body, {"Content-Type": "application/json"})
    with closing(connection):
        if response.status != 200:
            raise UpstreamError(_reason(response.read()), response.status)
        truncated, tokens = None, None
        try:
            for line in response:
                event = line.strip().removeprefix(b"data:").strip()
                if not line.startswith(b"data:") or event == b"[DONE]":
                    continue
                said = json.loads(event)
                if "error" in said:
                    raise UpstreamError(_reason(event))
                tokens = (said.get("usage") or {}).get("completion_tokens", tokens)
                for choice in said.get("choices", ()):
                    text = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
                    if choice.get("finish_reason") is not None:
                        truncated = choice["finish_reason"] == "length"
                    if text:
                        yield Piece(text)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UpstreamError(f"vLLM broke off in the middle of an answer: {error}.") from error
        if truncated is None:
            raise UpstreamError("vLLM broke off in the middle of an answer.")
        yield Piece("", truncated, tokens)


def _reason(body: bytes) -> str:
    try:
        said = json.loads(body)
        error = said.get("error", said)
        message = error.get("message") if isinstance(error, dict) else error
    except (ValueError, AttributeError):
        message = None
    text = " ".join(str(message or body[:200].decode(errors="replace")).split())
    return f"vLLM refused: {text[:500]}"
