"""The web server over engines that speak OpenAI's protocol: answers, pairs, votes, OpenAI's interface, refusals."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.preference_record import read_preferences
from serving.web import WebServer
from tests.serving.conftest import Running

SETTINGS = {"temperature": 0.7, "top_p": 0.9, "max_new_tokens": 12, "seed": 5}
OWN = {"prompt": {"text": "hello"}, "settings": SETTINGS}


def text(pieces: list[dict[str, object]]) -> str:
    return "".join(str(piece["text"]) for piece in pieces)


def test_the_page_says_what_is_served_and_runs_no_code_but_its_own(running: Running) -> None:
    status, page, headers = running.send("GET", "/")
    assert status == 200 and page.decode() == running.site.page
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and policy.count("'sha256-") == 2 and "unsafe" not in policy
    assert "http://" not in page.decode() and "https://" not in page.decode() and "innerHTML" not in page.decode()
    about = json.loads(running.send("GET", "/api/about")[1])
    assert [model["name"] for model in about["models"]] == ["lab", "lora-es-1", "sft-2"]
    assert about["chat"] is False  # countdown asks in plain text, whatever template the model has
    assert [task["name"] for task in about["tasks"]] == ["countdown level=L0"]


def test_an_answer_comes_from_the_engine_that_has_the_model(running: Running) -> None:
    for place, name in ((0, "lab"), (0, "lora-es-1"), (1, "sft-2")):
        pieces = running.call("/api/answer", {"model": name, **OWN})
        assert text(pieces) == f"<b>{name}</b> says hello"
        assert pieces[-1] == {"text": "", "truncated": True, "tokens": 3}
        request = running.engines[place].asked[-1]
        assert request["model"] == name and request["stop_token_ids"] == [2] and request["prompt"] == "hello"
        assert {key: request[key] for key in ("temperature", "top_p", "max_tokens", "seed")} == {
            "temperature": 0.7, "top_p": 0.9, "max_tokens": 12, "seed": 5,
        }  # fmt: skip


def test_a_blind_vote_is_on_the_disk_before_names_are_told(running: Running) -> None:
    question = running.call("/api/draw", {"task": "countdown level=L0"})
    topic = running.site.questions.topics["countdown level=L0"]
    assert question["text"] == topic.task.prompt(topic.items[question["item"]])
    item = {"task": question["task"], "item": question["item"]}
    drawn = running.call("/api/pairs", {"prompt": item, "settings": SETTINGS, "among": ["lora-es-1", "sft-2"]})
    assert set(drawn) == {"pair"}
    said = {side: text(running.call(f"/api/pairs/{drawn['pair']}/{side}", {})) for side in "ab"}
    assert not running.site.file.exists()
    told = running.call("/api/votes", {"pair": drawn["pair"], "choice": "b"})
    assert {told["a"], told["b"]} == {"lora-es-1", "sft-2"} and told["votes"] == 1
    assert all(verdict.startswith("wrong") for verdict in told["verdicts"].values())
    (vote,) = read_preferences(running.site.file)
    assert (vote.vote, vote.choice, vote.server) == (drawn["pair"], "b", "server")
    assert {side: getattr(vote, side).completion for side in "ab"} == said
    assert {side: getattr(vote, side).name for side in "ab"} == {side: told[side] for side in "ab"}
    runs = {served.name: served.run_id for served in running.site.served}
    assert vote.a.run_id == runs[told["a"]] and vote.b.run_id == runs[told["b"]]
    assert vote.prompt == question["text"] and vote.task is not None and vote.task.name == "countdown"
    assert vote.item_id == topic.items[question["item"]].id and topic.items[question["item"]].split == "val"
    assert vote.sampling.model_dump() == {**SETTINGS, "stop": topic.task.stop}
    assert vote.page == running.site.page_version and vote.at > 1.6e9
    asked = [engine.asked[-1] for engine in running.engines]
    assert {key: value for key, value in asked[0].items() if key != "model"} == {
        key: value for key, value in asked[1].items() if key != "model"
    }


def test_two_answers_of_a_pair_have_one_seed_even_where_it_is_drawn(running: Running) -> None:
    settings = {**SETTINGS, "seed": None}
    pair = running.call("/api/pairs", {"prompt": {"text": "x"}, "settings": settings, "among": ["lab", "sft-2"]})[
        "pair"
    ]
    for side in "ab":
        running.call(f"/api/pairs/{pair}/{side}", {})
    seeds = {engine.asked[-1]["seed"] for engine in running.engines}
    assert len(seeds) == 1 and seeds.pop() is not None


def test_pairs_and_their_order_are_drawn(running: Running) -> None:
    seen = set()
    for _ in range(200):
        pair = running.site.ballots.draw(*_question(running))
        seen.add((pair.models["a"].name, pair.models["b"].name))
    assert len(seen) == 6


def test_a_vote_must_be_about_two_whole_answers_once(running: Running) -> None:
    assert running.refused("/api/votes", {"pair": "0" * 32, "choice": "a"})[0] == 404
    pair = running.call("/api/pairs", OWN)["pair"]
    running.call(f"/api/pairs/{pair}/a", {})
    assert running.refused("/api/votes", {"pair": pair, "choice": "a"}) == (
        409, "Both answers must be whole before they are voted on.",
    )  # fmt: skip
    status, sentence = running.refused(f"/api/pairs/{pair}/a", {})
    assert status == 409 and "given already" in sentence
    running.call(f"/api/pairs/{pair}/b", {})
    status, sentence = running.refused("/api/votes", {"pair": pair, "choice": "both"})
    assert status == 400 and sentence.startswith("The request is not possible: choice: ")
    running.call("/api/votes", {"pair": pair, "choice": "neither"})
    assert running.refused("/api/votes", {"pair": pair, "choice": "a"})[0] == 409
    assert len(read_preferences(running.site.file)) == 1
    (vote,) = read_preferences(running.site.file)
    assert vote.task is None and vote.item_id is None and vote.prompt == "hello"


def test_what_an_engine_refuses_is_said_and_hides_the_name_in_a_pair(running: Running) -> None:
    broken = {"prompt": {"text": "break"}, "settings": SETTINGS}
    assert running.refused("/api/answer", {"model": "sft-2", **broken}) == (400, "vLLM refused: too long for sft-2")
    pair = running.call("/api/pairs", broken)["pair"]
    for _ in range(2):  # it may be tried again
        assert running.refused(f"/api/pairs/{pair}/a", {}) == (400, "vLLM refused: too long for this model")
    pieces = running.call("/api/answer", {"model": "sft-2", "prompt": {"text": "cut"}, "settings": SETTINGS})
    assert "broke off" in pieces[-1]["error"]


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/api/answer", {"model": "sft", **OWN}, 400, "No model served here is called 'sft'. Did you mean 'sft-2'?"),
        ("/api/answer", b"{", 400, "The request is not possible: invalid json"),
        ("/api/answer", {**OWN, "model": "lab", "prompt": {"text": "  "}}, 400, "There is nothing to answer"),
        ("/api/answer", {**OWN, "model": "lab", "more": 1}, 400, "more: extra inputs are not permitted"),
        ("/api/pairs", {**OWN, "settings": {**SETTINGS, "top_p": 0}}, 400, "settings.top_p: input should be greater"),
        ("/api/pairs", {**OWN, "among": ["lab"]}, 400, "between two models"),
        ("/api/pairs", {**OWN, "among": ["lab", "x"]}, 400, "No model served here is called 'x'"),
        ("/api/draw", {"task": "countdown"}, 400, "Did you mean 'countdown level=L0'?"),
        ("/api/pairs", {**OWN, "prompt": {"task": "countdown level=L0", "item": 200}}, 400, "no question 200"),
        ("/api/lost", {}, 404, "There is nothing at /api/lost."),
        ("/v1/completions", {"model": "nobody"}, 404, "No model served here is called 'nobody'"),
        ("/v1/completions", b"[]", 400, "The body is no JSON object."),
        ("/api/votes", b" " * (2**20 + 1), 413, "The body has 1,048,577 bytes, and may have 1,048,576."),
        ("/api/votes", b" " * 2**25, 413, "The body has 33,554,432 bytes"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(running: Running, path: str, body: object, status: int, said: str) -> None:
    found, sentence = running.refused(path, body)
    assert found == status and said in sentence and "\n" not in sentence


def test_openais_interface_is_passed_on_to_the_engine_of_the_model(running: Running) -> None:
    listed = json.loads(running.send("GET", "/v1/models")[1])
    assert [model["id"] for model in listed["data"]] == ["lab", "lora-es-1", "sft-2"]
    request = {"model": "sft-2", "messages": [{"role": "user", "content": "hi"}]}
    assert running.call("/v1/chat/completions", request)["choices"][0]["message"]["content"].endswith("says hi")
    status, body, headers = running.send("POST", "/v1/completions", {"model": "lab", "prompt": "p", "stream": True})
    assert status == 200 and headers.get_content_type() == "text/event-stream"
    assert body.startswith(b"data: {") and body.endswith(b"data: [DONE]\n\n")
    status, body, _ = running.send("POST", "/v1/completions", {"model": "lab", "prompt": "break"})
    assert status == 400 and json.loads(body)["error"]["message"] == "too long for lab"


def test_metrics_of_all_engines_are_one_page(running: Running) -> None:
    running.call("/api/answer", {"model": "sft-2", **OWN})
    status, page, headers = running.send("GET", "/metrics")
    assert status == 200 and headers.get_content_type() == "text/plain"
    assert page.decode().splitlines() == [
        "# HELP vllm:requests How many.",
        "# TYPE vllm:requests counter",
        'vllm:requests{server="lab",model_name="lab"} 0',
        'vllm:requests{server="sft-2",model_name="sft-2"} 1',
    ]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
@pytest.mark.parametrize("path", ["/api/votes", "/v1/completions"])
def test_another_site_can_do_nothing(running: Running, path: str, headers: dict[str, str], status: int) -> None:
    assert running.refused(path, {}, headers)[0] == status
    assert not any(engine.asked for engine in running.engines)


def test_the_page_itself_a_tunnel_and_programs_can(running: Running) -> None:
    port = running.web.server_port
    for headers in (
        {"Origin": f"http://127.0.0.1:{port}"},
        {"Origin": "http://localhost:9", "Host": "localhost:9"},
        {},
    ):
        assert running.send("POST", "/api/pairs", OWN, headers)[0] == 200
    assert running.send("GET", "/", None, {"Host": "evil.example"})[0] == 421


def test_a_dead_engine_is_a_sentence(running: Running) -> None:
    running.engines[1].shutdown()
    running.engines[1].server_close()
    status, sentence = running.refused("/api/answer", {"model": "sft-2", **OWN})
    assert status == 502 and sentence.startswith("vLLM does not answer: ")


def test_a_port_in_use_is_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"Port {port} of 127.0.0.1 is in use: choose another with --port"):
            WebServer("127.0.0.1", port)


def test_votes_are_appended_and_a_torn_line_is_left_out(running: Running, tmp_path: Path) -> None:
    for _ in range(2):
        pair = running.call("/api/pairs", OWN)["pair"]
        for side in "ab":
            running.call(f"/api/pairs/{pair}/{side}", {})
        running.call("/api/votes", {"pair": pair, "choice": "tie"})
    whole = running.site.file.read_bytes()
    running.site.file.write_bytes(whole[:-5])
    assert len(read_preferences(running.site.file)) == 1
    running.site.file.write_bytes(b"{}\n" + whole)
    with pytest.raises(UserError, match=r"Line 1 of .* is no vote: vote: field required"):
        read_preferences(running.site.file)


def _question(running: Running):  # type: ignore[no-untyped-def]
    from serving.questions import Settings, Words, asked

    question = running.site.questions.question(Words(text="x"))
    return question, asked(Settings(**SETTINGS), question)
