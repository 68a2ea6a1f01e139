"""The devices that a plan can be held against: those that are there, as they say themselves, and one that is described.

No list of products: the memory of a GPU comes from nvidia-smi, that of a machine from its kernel, and that of anything
else from whoever asks (`--device-memory 24GB`).
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from harness.contracts import Resources
from harness.errors import UserError
from harness.executors.local import visible_gpus
from harness.fork_server import modules
from harness.provenance import environment

_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


@dataclass(frozen=True)
class Device:
    """Something that a run can be computed on."""

    name: str
    bytes: float
    """Memory that one run may use."""
    gpu: bool


def devices_here(slots: int, processes: int = 1) -> list[Device]:
    """The GPUs of this machine; without any, its processor, memory shared by all processes of as many runs as there are
    slots. Every process of a run holds what the run would need alone."""
    if visible_gpus() and shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)
        rows = [line.rsplit(",", 1) for line in answer.stdout.splitlines() if line.count(",")]
        found = {Device(name.strip(), float(mebibytes) * 2**20, True) for name, mebibytes in rows}
        if found:
            return sorted(found, key=lambda device: device.name)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    share = f", {slots} runs at a time" if slots > 1 else ""
    share += f", {processes} processes a run" if processes > 1 else ""
    return [Device(f"this machine{share}", memory / (slots * processes), False)]


def described(text: str) -> Device:
    """A device of so much memory: `24GB`, `80 GiB`, or `NAME=24GB`."""
    name, equals, size = text.rpartition("=")
    found = re.fullmatch(r"\s*([0-9.]+)\s*([kmgt]i?)b?\s*", size.lower())
    if found is None or found[1].count(".") > 1 or not float(found[1].strip(".") or 0):
        raise UserError(f"{text!r} is no amount of memory: --device-memory 24GB, or NAME=24GB.")
    amount = float(found[1]) * _UNITS[found[2]]
    return Device(name if equals else f"a device of {size.strip()}", amount, True)


def device_name() -> str:
    """What this machine's runs would record as their device."""
    found = environment(Resources())
    return str(found.get("gpu") or found.get("cpu"))


def process_bytes() -> float:
    """What a process holds once everything is imported that a run imports: this one, which imports it, or the fork
    server that this one comes from, of whose pages it has not touched all that a run does.

    The present size: the kernel's record of the highest counts what the process that started this one held.
    """
    import psutil

    if multiprocessing.parent_process() is not None:
        return float(psutil.Process(os.getppid()).memory_info().rss)
    for module in modules():
        importlib.import_module(module)
    return float(psutil.Process().memory_info().rss)
