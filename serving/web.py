"""The one port that people and programs use: the page, its calls, OpenAI's endpoints and the metrics.

It listens on this machine unless told otherwise. A request must name a host that is this one (a name that an attacker
points here is refused), and what changes anything must be JSON and come from the page itself or from no page. A mistake
is one sentence in JSON, with the status that it deserves.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import ipaddress
import json
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

from harness.errors import UserError
from serving.ballots import Conflict
from serving.site import Site
from serving.upstream import Piece, UpstreamError, exchange

LARGEST = {"/api/": 2**20, "/v1/": 2**25}
"""Bytes of a body."""
_DISCARDED = 2**26
"""Bytes of a refused body that are read, because a client that is cut off while it sends never sees the answer."""
_PAIR = re.compile(r"/api/pairs/([0-9a-f]{32})/([ab])")


class Refused(Exception):
    """A status and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class WebServer(ThreadingHTTPServer):
    """Holds its port from the start; `site` is what it shows. UserError if the port cannot be had."""

    daemon_threads = True
    request_queue_size = 64
    site: Site

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            used = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            reason = "in use" if used else f"not to be had ({getattr(error, 'strerror', None) or error})"
            raise UserError(
                f"Port {port} of {host} is {reason}: choose another with --port, or --port 0 for any that is free."
            ) from None

    def server_bind(self) -> None:
        """Without the look-up of the host's name, which may take long."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.host, int(self.server_address[1])

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}/"

    @cached_property
    def names(self) -> frozenset[str]:
        """Host names that are this server; any address is one too, because only a name can be pointed elsewhere."""
        return frozenset({"localhost", self.host.lower(), socket.gethostname().lower()})

    @cached_property
    def policy(self) -> str:
        """The content security policy: nothing but the page's own script and style, and no other place."""
        hashes = {
            tag: " ".join(
                f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
                for text in re.findall(rf"<{tag}>(.*?)</{tag}>", self.site.page, re.DOTALL)
            )
            for tag in ("script", "style")
        }
        return (
            f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: WebServer
    protocol_version = "HTTP/1.1"
    timeout = 120
    """Seconds that a client may be silent."""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _get(self, path: str) -> None:
        site = self.server.site
        if path == "/":
            self._send(
                200, "text/html; charset=utf-8", site.page.encode(), {"Content-Security-Policy": self.server.policy}
            )
        elif path == "/api/about":
            self._send_json(200, site.about())
        elif path == "/metrics":
            self._send(200, "text/plain; version=0.0.4; charset=utf-8", site.metrics().encode())
        elif path == "/v1/models":
            self._send_json(200, site.models())
        elif path == "/health" or path.startswith("/v1/"):
            self._pass_on("GET", None)
        else:
            raise Refused(404, f"There is nothing at {path[:100]}.")

    def _post(self, path: str) -> None:
        site = self.server.site
        body = self._body(path)
        pair = _PAIR.fullmatch(path)
        if path.startswith("/v1/"):
            self._pass_on("POST", body)
        elif path == "/api/draw":
            self._send_json(200, site.draw(body))
        elif path == "/api/answer":
            self._stream(site.answer(body))
        elif path == "/api/pairs":
            self._send_json(200, site.draw_pair(body))
        elif pair is not None:
            self._stream(site.answer_of_pair(pair[1], "a" if pair[2] == "a" else "b"))
        elif path == "/api/votes":
            self._send_json(200, site.vote(body))
        else:
            raise Refused(404, f"There is nothing at {path[:100]}.")

    def _answer(self, handle: Any) -> None:
        self._begun, self._unread = False, self._announced()
        path = urlsplit(self.path).path
        try:
            self._check_host()
            handle(path)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True
        except Refused as refused:
            self._refuse(refused.status, str(refused), path)
        except LookupError as error:
            self._refuse(404, str(error.args[0]), path)
        except Conflict as error:
            self._refuse(409, str(error), path)
        except UserError as error:
            self._refuse(400, str(error), path)
        except UpstreamError as error:
            self._refuse(error.status if 400 <= error.status < 500 else 502, str(error), path)

    def _check_host(self) -> None:
        given = self.headers.get("Host", "")
        name = (urlsplit(f"//{given}").hostname or "").lower()
        if name not in self.server.names and not _is_address(name):
            raise Refused(421, f"This server is not {name[:100]!r}: use {self.server.url}")

    def _body(self, path: str) -> bytes:
        """The JSON that a page of ours or a program sent."""
        origin = self.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc.lower() != self.headers.get("Host", "").lower():
            raise Refused(403, f"Another site ({origin[:100]}) may not use this server.")
        if self.headers.get_content_type() != "application/json":
            raise Refused(415, "The body must be JSON, and its Content-Type application/json.")
        if self._unread is None:
            raise Refused(411, "A request must say how long its body is (Content-Length).")
        length, largest = self._unread, next((most for start, most in LARGEST.items() if path.startswith(start)), 0)
        if length > largest:
            raise Refused(413, f"The body has {length:,} bytes, and may have {largest:,}.")
        self._unread = 0
        return self.rfile.read(length)

    def _announced(self) -> int | None:
        """The length of the body, as its sender says; None if that is nothing."""
        length = self.headers.get("Content-Length", "")
        return int(length) if length.isascii() and length.isdigit() and len(length) < 19 else None

    def _stream(self, pieces: Iterator[Piece]) -> None:
        """An answer as lines of JSON: `text`, and last `truncated` and `tokens`, or `error`."""
        with closing(pieces):  # type: ignore[type-var]
            first = next(pieces)  # what goes wrong before it is a status of its own
            self._send_parts(200, "application/x-ndjson", self._lines(first, pieces))

    def _lines(self, first: Piece, pieces: Iterator[Piece]) -> Iterator[bytes]:
        try:
            for piece in chain((first,), pieces):
                said: dict[str, Any] = {"text": piece.text}
                if piece.truncated is not None:
                    said |= {"truncated": piece.truncated, "tokens": piece.tokens}
                yield json.dumps(said).encode() + b"\n"
        except UpstreamError as error:
            yield json.dumps({"error": str(error)}).encode() + b"\n"

    def _pass_on(self, method: str, body: bytes | None) -> None:
        """A request of OpenAI's interface to its engine, and the response back as it comes."""
        path = self.server.site.socket_of(body)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection, response = exchange(path, method, self.path, body, headers)
        kind = response.headers.get("Content-Type", "application/json")
        with closing(connection):
            self._send_parts(response.status, kind, iter(lambda: response.read1(2**16), b""))

    def _send_json(self, status: int, value: Any) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _refuse(self, status: int, sentence: str, path: str) -> None:
        if self._begun:  # the head is out already: all that can be done is to break off
            self.close_connection = True
            return
        error: Any = {"message": sentence, "code": status} if path.startswith("/v1/") else sentence
        self.close_connection = True
        try:
            unread = min(self._unread or 0, _DISCARDED)
            while unread > 0 and (part := self.rfile.read(min(unread, 2**16))):
                unread -= len(part)
            self._send(status, "application/json", json.dumps({"error": error}).encode(), {"Connection": "close"})
        except OSError:
            return

    def _send(self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self._head(status, kind, {"Content-Length": str(len(body)), **(headers or {})})
        self.wfile.write(body)

    def _send_parts(self, status: int, kind: str, parts: Iterable[bytes]) -> None:
        """A body whose length is not known before its end."""
        chunked = self.request_version != "HTTP/1.0"
        self._head(status, kind, {"Transfer-Encoding": "chunked"} if chunked else {"Connection": "close"})
        self.close_connection = not chunked
        for part in parts:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _head(self, status: int, kind: str, headers: dict[str, str]) -> None:
        self._begun = True
        self.send_response(status)
        safe = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
        for name, value in {"Content-Type": kind, **safe, **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: vLLM's log has what was generated."""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
