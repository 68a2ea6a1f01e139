"""The process that runs are forked from: it has everything imported, so that each of them begins at once."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import sys
import threading
from functools import cache
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext

from harness.registry import own_modules

_MODULES = (
    "torch",
    "transformers",
    "transformers.models.qwen2.modeling_qwen2",
    "trl",
    "trl.trainer.sft_trainer",
    "trl.trainer.dpo_trainer",
    "trl.trainer.grpo_trainer",
    "peft",
    "datasets",
    "pyarrow.parquet",
    "harness.context",
    "harness.engines.population",
    "harness.gradient_loop",
    "harness.registry",
    "harness.stages",
    "harness.worker",
)


@cache
def modules() -> tuple[str, ...]:
    """What a run imports: libraries, the harness, and every method and task but plug-ins."""
    return (*_MODULES, *own_modules())


def fork_server(load: bool = True) -> ForkServerContext:
    """The context of processes that are forked from the server; starts it where there is none yet.

    It then does its imports (`load`) by itself. It ignores Ctrl-C, and so does what is forked from it.
    """
    context = multiprocessing.get_context("forkserver")
    if load:
        context.set_forkserver_preload(["harness.preloading", *modules(), "harness.preloaded"])
    # A killed run leaves its semaphores to the tracker, which clears them away and need not say so.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions.pop()
    if threading.current_thread() is not threading.main_thread():
        forkserver.ensure_running()
        return context
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)
    return context


def begin() -> None:
    """What a forked process does first: collect garbage again, but never among what was imported, which would take a
    short run as much time as its updates."""
    gc.freeze()
    gc.enable()
