"""A site over two engines that really speak HTTP, and its web server."""

from __future__ import annotations

import http.client
import json
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.models import load_model
from harness.spec import RunSpec
from serving.questions import Questions
from serving.served import Served
from serving.site import Site
from serving.web import WebServer
from tests.conftest import make_spec
from tests.serving.engine_double import Engine


@dataclass
class Running:
    """What a test talks to."""

    web: WebServer
    engines: list[Engine]

    @property
    def site(self) -> Site:
        return self.web.site

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        """A request as a program sends it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.web.server_port, timeout=20)
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        kind = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, path, raw, {**kind, **(headers or {})})
        response = connection.getresponse()
        found = response.status, response.read(), response.headers
        connection.close()
        return found

    def call(self, path: str, body: Any) -> Any:
        """A call that must succeed: its JSON, or the lines of a stream."""
        status, answer, headers = self.send("POST", path, body)
        assert status == 200, answer
        if headers.get_content_type() == "application/x-ndjson":
            return [json.loads(line) for line in answer.splitlines()]
        return json.loads(answer)

    def refused(self, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, str]:
        """A call that must fail: its status and its sentence."""
        status, answer, _ = self.send("POST", path, body, headers)
        said = json.loads(answer)["error"]
        return status, said if isinstance(said, str) else said["message"]


@pytest.fixture
def specs() -> tuple[RunSpec, ...]:
    return make_spec("lora-es"), make_spec("sft"), make_spec("lora-es", seed=1)


@pytest.fixture
def running(tmp_path: Path, specs: tuple[RunSpec, ...]) -> Iterator[Running]:
    """The base and an adapter on one engine, a whole model on another."""
    base, adapter, whole = "lab", "lora-es-1", "sft-2"
    with tempfile.TemporaryDirectory() as short:  # a socket's path has little room
        engines = [Engine(Path(short) / "0", [base, adapter]), Engine(Path(short) / "1", [whole])]
        web = WebServer("127.0.0.1", 0)
        web.site = Site(
            served=[
                Served(base, None, None, "base", tmp_path),
                Served(adapter, specs[0].run_id, "lora-es", "adapter", tmp_path, 2),
                Served(whole, specs[1].run_id, "sft", "weights", tmp_path),
            ],
            sockets={base: Path(short) / "0", adapter: Path(short) / "0", whole: Path(short) / "1"},
            questions=Questions(specs, has_chat_template=True),
            file=tmp_path / "runs" / "preferences" / "server.jsonl",
            base=load_model("lab").reference(),
            engine="vllm 0",
            defaults=specs[0].evaluation,
            ends=[2],
        )
        for one in (*engines, web):
            threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield Running(web, engines)
        for one in (web, *engines):
            one.shutdown()
            one.server_close()
