"""What a fork server knows before the first run is forked from it."""

from __future__ import annotations

import importlib
import subprocess
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext

import pytest

from harness import provenance
from harness.fork_server import fork_server, modules


def test_it_is_imported_last_and_without_looking_for_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr(ForkServerContext, "set_forkserver_preload", lambda _, names: given.extend(names))
    for starts in (forkserver, resource_tracker):
        monkeypatch.setattr(starts, "ensure_running", lambda: None)
    fork_server()
    assert given == ["harness.preloading", *modules(), "harness.preloaded"]


def test_a_run_records_the_code_that_it_is_made_of_and_asks_git_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    provenance.code_state.cache_clear()
    importlib.reload(importlib.import_module("harness.preloaded"))
    asked: list[object] = []
    monkeypatch.setattr(subprocess, "run", lambda *given, **_: asked.append(given))
    assert provenance.code_state().keys() == {"commit", "dirty", "diff_sha256"}
    assert not asked


def test_git_that_does_not_answer_keeps_no_server_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*given: object, **_: object) -> None:
        raise subprocess.TimeoutExpired("git", 30)

    provenance.code_state.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", slow)
        importlib.reload(importlib.import_module("harness.preloaded"))
    assert provenance.code_state.cache_info().currsize == 0
