"""A real, tiny server on a Unix socket that speaks OpenAI's protocol and answers with its model's name.

Run as a program it is an engine's process: `python engine_double.py SOCKET NAME... [--exit]`.
"""

from __future__ import annotations

import json
import os
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any


class Engine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Knows its models by name and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, path: Path, names: list[str]) -> None:
        self.names = names
        self.asked: list[dict[str, Any]] = []
        super().__init__(str(path), Handler)

    def get_request(self) -> Any:
        request, _ = super().get_request()
        return request, ("engine", 0)


class Handler(BaseHTTPRequestHandler):
    """OpenAI's models, completions and chat completions; Prometheus's metrics."""

    server: Engine
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/health":
            self._send(200, b"", "text/plain")
        elif self.path == "/metrics":
            name = self.server.names[0]
            count = len(self.server.asked)
            sample = f'vllm:requests{{model_name="{name}"}} {count}'
            page = f"# HELP vllm:requests How many.\n# TYPE vllm:requests counter\n{sample}\n"
            self._send(200, page.encode(), "text/plain")
        elif self.path == "/v1/models":
            listed = [{"id": name, "object": "model"} for name in self.server.names]
            self._send(200, json.dumps({"object": "list", "data": listed}).encode())
        else:
            self._send(404, b"{}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        if body["model"] not in self.server.names:
            said = {"error": {"message": f"The model `{body['model']}` does not exist."}}
            self._send(404, json.dumps(said).encode())
            return
        prompt = body.get("prompt") or body["messages"][-1]["content"]
        if "break" in prompt:
            self._send(400, json.dumps({"error": {"message": f"too long for {body['model']}"}}).encode())
            return
        chat = self.path.endswith("/chat/completions")
        words = [f"<b>{body['model']}</b> ", "says ", prompt]
        if not body.get("stream"):
            text = "".join(words)
            choice = {"message": {"content": text}} if chat else {"text": text}
            self._send(200, json.dumps({"choices": [{**choice, "finish_reason": "stop"}]}).encode())
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for place, word in enumerate(words):
            if "cut" in prompt and place == 1:
                self.close_connection = True
                return
            last = place == len(words) - 1
            choice = {"delta": {"content": word}} if chat else {"text": word}
            self._event({"choices": [{**choice, "finish_reason": ("length" if last else None)}]})
        self._event({"choices": [], "usage": {"completion_tokens": 3}})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _event(self, said: dict[str, Any]) -> None:
        self._chunk(f"data: {json.dumps(said)}\n\n".encode())

    def _chunk(self, part: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))

    def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return


if __name__ == "__main__":
    socket, *names = sys.argv[1:]
    if "--exit" in names:
        sys.stderr.write("(Worker) ERROR 01-01 [x.py:1] ValueError: no room for the cache\n")
        sys.exit(3)
    if os.fork() == 0:  # a child of its own, as vLLM has
        threading.Event().wait(600)
    Engine(Path(socket), names).serve_forever()
