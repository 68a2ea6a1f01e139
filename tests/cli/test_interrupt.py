"""Ctrl-C at any moment: exit code 130, one sentence that says how to go on, no process left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.models import shipped_models

COMMAND = (
    *("run", "--method", "sft", "--task", "countdown", "-t", "level=L1", "--model", "model", "--steps", "100000"),
    *("-p", "examples=16", "--items", "8", "--curve-points", "0"),
)


@pytest.mark.parametrize("moment", ["while it starts", "while it runs"])
def test_ctrl_c(tmp_path: Path, moment: str) -> None:
    shutil.copytree(shipped_models()["lab"], tmp_path / "model")
    told = ["-X", "importtime"] if moment == "while it starts" else []
    process = subprocess.Popen(
        [sys.executable, *told, "-m", "cli.main", *COMMAND],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    if moment == "while it starts":
        assert process.stderr is not None
        while "cli.output" not in process.stderr.readline():  # in the middle of the imports
            assert process.poll() is None
    else:
        deadline = time.monotonic() + 90
        while not any(path.stat().st_size > 500 for path in tmp_path.glob("runs/*/*/*/events.jsonl")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    errors = "".join(line for line in said.splitlines(keepends=True) if not line.startswith("import time:"))
    assert process.returncode == 130
    assert errors.startswith("Stopped; ") and errors.count("\n") == 1, errors
    assert "o on with" in errors
    assert not list(tmp_path.glob("runs/*/*/*/result.json"))
    for lease in tmp_path.glob("runs/*/*/*/lease.json"):
        assert not Path(f"/proc/{json.loads(lease.read_text())['pid']}").exists()
