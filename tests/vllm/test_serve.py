"""`beyondrl serve` for real: adapters, a whole model and the base by name, a chat, a vote, metrics, and a clean end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from harness.contracts import Sampling
from harness.engines.hf import HFEngine
from harness.models import load_model
from harness.record import RunDirectory
from results.database import query
from results.ingest import ingest
from tests.conftest import make_spec, run_to_end

ROOT = Path(__file__).parent.parent.parent
METHODS = ("rslora+sft", "kron-lora+sft", "sft")
QUESTIONS = 24
TOKENS = 24


@dataclass
class Server:
    """A running command and what it said."""

    process: subprocess.Popen[str]
    url: str
    runs: Path
    directories: dict[str, RunDirectory]
    names: dict[str, str]

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=120)
        raw = None if body is None else json.dumps(body)
        connection.request(method, path, raw, {"Content-Type": "application/json"} if raw else {})
        response = connection.getresponse()
        return response.status, response.read().decode()

    def call(self, path: str, body: Any) -> Any:
        status, answer = self.send("POST", path, body)
        assert status == 200, answer
        return json.loads(answer)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    runs = tmp_path_factory.mktemp("runs")
    directories = {method: run_to_end(make_spec(method, steps=30, learning_rate=1e-2), runs) for method in METHODS}
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "serve", *(str(one.path) for one in directories.values()),
         "--runs", str(runs), "--port", "0"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("Ready: "):
            break
    else:
        pytest.fail("".join(said) + process.stderr.read() + "".join(f.read_text() for f in runs.glob("serving/*")))
    names = {method: f"{method}-{one.read_spec().run_id[:8]}" for method, one in directories.items()}
    yield Server(process, said[-1].split()[1], runs, directories, names)
    process.kill()


def test_every_model_is_there_by_name_and_answers_as_itself(server: Server) -> None:
    listed = [model["id"] for model in json.loads(server.send("GET", "/v1/models")[1])["data"]]
    assert sorted(listed) == sorted(["lab", *server.names.values()])
    task = json.loads(server.send("GET", "/api/about")[1])["tasks"][0]["name"]
    prompts = [server.call("/api/draw", {"task": task})["text"] for _ in range(QUESTIONS)]
    tokenizer = load_model("lab").tokenizer()
    answers = {}
    for method, name in [("base", "lab"), *server.names.items()]:
        model = load_model("lab" if method == "base" else str(server.directories[method].model)).model().eval()
        request = {"model": name, "prompt": prompts, "temperature": 0, "max_tokens": TOKENS}
        found = [one["text"] for one in server.call("/v1/completions", request)["choices"]]
        own = [one.text for one in HFEngine(model, tokenizer).generate(prompts, Sampling(TOKENS, 0.0, 1.0, None), 0)]
        same = sum(a == b for a, b in zip(found, own, strict=True))
        assert same >= QUESTIONS - 1  # a tie in the last float may be broken the other way
        answers[method] = found
    assert len({json.dumps(one) for one in answers.values()}) == len(answers)


def test_a_chat_is_streamed(server: Server) -> None:
    messages = [{"role": "user", "content": "3,5,7=22>"}]
    request = {"model": server.names["rslora+sft"], "messages": messages, "max_tokens": 5, "stream": True}
    status, body = server.send("POST", "/v1/chat/completions", request)
    assert status == 200 and body.count("data: ") >= 3 and body.endswith("data: [DONE]\n\n")
    settings = {"temperature": 1.0, "top_p": 0.9, "max_new_tokens": 8, "seed": 3}
    asked = {"model": server.names["sft"], "prompt": {"text": "3,5,7=22>"}, "settings": settings}
    said = [server.send("POST", "/api/answer", asked)[1] for _ in range(2)]
    assert said[0] == said[1]  # one seed, one answer
    pieces = [json.loads(line) for line in said[0].splitlines()]
    assert pieces[-1]["truncated"] in (True, False) and 1 <= pieces[-1]["tokens"] <= 8


def test_a_vote_reaches_the_database(server: Server, tmp_path: Path) -> None:
    task = json.loads(server.send("GET", "/api/about")[1])["tasks"][0]["name"]
    question = server.call("/api/draw", {"task": task})
    settings = {"temperature": 0, "top_p": 1, "max_new_tokens": TOKENS}
    prompt = {"task": task, "item": question["item"]}
    among = [server.names["rslora+sft"], server.names["kron-lora+sft"]]
    pair = server.call("/api/pairs", {"prompt": prompt, "settings": settings, "among": among})["pair"]
    for side in "ab":
        assert server.send("POST", f"/api/pairs/{pair}/{side}", {})[0] == 200
    told = server.call("/api/votes", {"pair": pair, "choice": "a"})
    assert {told["a"], told["b"]} == set(among)
    ingest(server.runs, tmp_path / "votes.duckdb")
    sql = "SELECT r.method, p.name_a, p.choice, p.prompt, p.engine FROM preferences p JOIN runs r ON r.run_id = p.run_a"
    ((method, name, choice, text, engine),) = query(tmp_path / "votes.duckdb", sql)[1]
    assert (server.names[method], name, choice, text) == (told["a"], told["a"], "a", question["text"])
    assert engine.startswith("vllm 0.")


def test_metrics_come_from_the_engines(server: Server) -> None:
    status, page = server.send("GET", "/metrics")
    assert status == 200
    for name in ("lab", server.names["sft"]):
        (line,) = [
            line for line in page.splitlines()
            if line.startswith("vllm:generation_tokens_total{") and f'server="{name}"' in line
        ]  # fmt: skip
        assert float(line.rpartition(" ")[2]) > 0
    assert page.count("# TYPE vllm:generation_tokens_total ") == 1


def test_ctrl_c_leaves_nothing_running(server: Server) -> None:
    """The last test: it ends the server."""
    of_vllm = [path for path in Path("/proc").glob("[0-9]*") if _descends(path, server.process.pid)]
    assert len(of_vllm) >= 2
    os.killpg(server.process.pid, signal.SIGINT)
    _, said = server.process.communicate(timeout=60)
    assert server.process.returncode == 130
    assert said.splitlines()[-1].startswith("Stopped; 1 vote is in ") and "Traceback" not in said
    deadline = time.monotonic() + 10
    while any(path.exists() for path in of_vllm):
        assert time.monotonic() < deadline, [(path / "cmdline").read_text() for path in of_vllm if path.exists()]
        time.sleep(0.1)


def _descends(process: Path, ancestor: int) -> bool:
    number = int(process.name)
    try:
        while number > 1:
            number = int(Path(f"/proc/{number}/stat").read_text().rpartition(") ")[2].split()[1])
            if number == ancestor:
                return True
    except OSError:
        return False
    return False
