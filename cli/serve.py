"""`beyondrl serve RUN...`: the base and finished runs behind OpenAI's interface, with a page to chat and to vote on."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

import typer

from cli.export import find_run
from cli.interrupted import Interrupted
from cli.options import RUNS, Runs
from cli.output import console
from harness.errors import UserError


class Dtype(StrEnum):
    """Number types of the served weights."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


def serve(
    run: Annotated[
        list[str] | None, typer.Argument(help="Finished runs on one base: identity (or first digits), or directory.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    dtype: Annotated[
        Dtype, typer.Option("--dtype", help="Numbers of the weights; float32 is what runs are scored in.")
    ] = Dtype.float32,
    vllm: Annotated[
        list[str], typer.Option("--vllm", help="An option of vllm serve, NAME=VALUE or NAME; repeatable.")
    ] = [],  # noqa: B006
    runs: Runs = RUNS,
) -> None:
    """Serve the base and runs by name (vLLM): a chat side by side, blind votes, OpenAI's endpoints, metrics.

    Votes go to RUNS/preferences and, with beyondrl ingest, into the database and the reports of the runs' sweeps.
    """
    from harness.engines.choice import INSTALL, is_installed
    from serving.served import choose

    if not run:
        raise UserError(
            "Name the finished runs to serve beside their base, by identity or directory: beyondrl serve RUN..."
        )
    options = [part for given in vllm for part in _option(given)]
    choice = choose([find_run(one, runs) for one in run])
    from cli.places import require_writable
    from serving.session import LOGS, serve_until_stopped
    from serving.web import WebServer

    if not is_installed():
        raise UserError(f"Serving needs vLLM, which is not installed here: {INSTALL}.")
    require_writable(runs / LOGS, "--runs")
    web = WebServer(host, port)
    terminal = console()
    site = serve_until_stopped(
        choice,
        web,
        runs,
        dtype.value,
        options,
        lambda text: terminal.print(text, highlight=False, markup=False, soft_wrap=True),
    )
    votes = site.ballots.count
    kept = (
        f"{votes} {'vote is' if votes == 1 else 'votes are'} in {site.file}: beyondrl ingest" if votes else "no votes"
    )
    raise Interrupted(f"Stopped; {kept}.")


def _option(given: str) -> list[str]:
    """`max-model-len=4096` as vLLM's command line has it."""
    name, equals, value = given.partition("=")
    name = name.removeprefix("--").replace("_", "-")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or (equals and not value):
        raise UserError(f"--vllm {given} is not possible: write NAME=VALUE, for example --vllm max-model-len=4096.")
    return [f"--{name}", value] if equals else [f"--{name}"]
