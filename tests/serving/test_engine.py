"""The life of an engine's process: it becomes ready, its death is told with its log, nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.errors import UserError
from serving.engine import Engine, vllm_command
from serving.served import Served

DOUBLE = str(Path(__file__).with_name("engine_double.py"))


@pytest.fixture
def short() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def engine(short: Path, *arguments: str) -> Engine:
    return Engine("lab", [sys.executable, DOUBLE, str(short / "0"), "lab", *arguments], short / "0", short / "x.log")


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def members(marker: str) -> list[int]:
    """Processes whose command line has `marker`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().decode()
            state = (process / "stat").read_text().rpartition(") ")[2][0]
        except OSError:
            continue
        if marker in line and state != "Z":
            found.append(int(process.name))
    return found


def test_it_becomes_ready_and_nothing_is_left_after_it(short: Path) -> None:
    one = engine(short)
    one.start()
    until(one.ready)
    assert len(members(str(short / "0"))) == 2
    one.stop()
    until(lambda: not members(str(short / "0")), 10)
    assert not one.socket.exists()


def test_its_death_is_told_with_its_last_words_and_its_log(short: Path) -> None:
    one = engine(short, "--exit")
    one.start()
    with pytest.raises(UserError, match=r"exit code 3 \(ValueError: no room for the cache\): its log is .*x\.log\."):
        until(one.ready)
    one.stop()


def test_a_killed_one_is_told_by_its_signal(short: Path) -> None:
    one = engine(short)
    one.start()
    until(one.ready)
    first = min(members(str(short / "0")))
    os.kill(first, signal.SIGKILL)
    with pytest.raises(UserError, match="ended by signal 9: its log is"):
        until(one.ready)
    one.stop()
    until(lambda: not members(str(short / "0")), 10)


def test_it_does_not_outlive_the_server_however_that_ends(short: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom serving.engine import Engine\n"
        f"one = Engine('lab', [sys.executable, {DOUBLE!r}, {str(short / '0')!r}, 'lab'], Path({str(short / '0')!r}), "
        f"Path({str(short / 'x.log')!r}))\none.start()\n"
        "while not one.ready(): time.sleep(.05)\nprint('ready', flush=True)\ntime.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert server.stdout is not None and server.stdout.readline() == "ready\n"
    server.kill()
    server.wait()
    until(lambda: len(members(DOUBLE)) <= 1, 10)  # vLLM ends its own children when it is told to end
    for left in members(str(short / "0")):
        os.kill(left, signal.SIGKILL)


def test_the_command_has_room_for_every_adapter(tmp_path: Path) -> None:
    base = Served("lab", None, None, "base", tmp_path / "lab")
    adapters = [Served(f"m-{n}", str(n), "m", "adapter", tmp_path / f"a={n}", rank) for n, rank in ((1, 3), (2, 12))]
    command = vllm_command([base, *adapters], tmp_path / "s", "float32", False, 1, ["--max-model-len", "64"])
    text = " ".join(command)
    assert "--enable-lora --max-lora-rank 16 --max-loras 2 --max-cpu-loras 2 --lora-modules" in text
    assert '{"name": "m-2", "path": "%s"}' % (tmp_path / "a=2") in text and text.endswith("--max-model-len 64")
    alone = " ".join(vllm_command([base], tmp_path / "s", "bfloat16", True, 2))
    assert "lora" not in alone and "--gpu-memory-utilization 0.450" in alone and "--enforce-eager" not in alone
