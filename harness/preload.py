"""What a fork server holds for the runs that it forks: each of them begins with everything imported."""

from __future__ import annotations

import gc
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
    "harness.worker",
)


def modules() -> list[str]:
    """What a run imports: libraries, the harness, and every method and task but plug-ins."""
    return [*_MODULES, *own_modules()]


def preload(context: ForkServerContext) -> None:
    """Have the fork server, once it is started, import all that."""
    context.set_forkserver_preload(["harness.preloading", *modules()])


def begin() -> None:
    """What a forked process does first: collect garbage again, but never among what was imported, which would take a
    short run as much time as its updates."""
    gc.freeze()
    gc.enable()
