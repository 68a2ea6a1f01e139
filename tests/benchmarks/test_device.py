"""The benchmark of a real run beside the plain engine, on the processor; what is watched on a GPU, from a stand-in."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from benchmarks.device import main, watched

_SMI = """#!/bin/sh
echo "$@" > "$0.said"
for busy in 10 20 30; do echo "$busy, 1234"; sleep 0.05; done
exec sleep 60
"""


def test_a_run_stands_beside_transformers_own_generation(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--steps", "3", "--repeats", "1", "-p", "prompts_per_step=4", "-p", "group_size=4"]
    assert main(["--engine", "hf", "-t", "level=L0", *small]) == 0
    told = capsys.readouterr().out
    assert "16 rows an update" in told
    plain, ours, ratio = (
        float(re.search(pattern, told)[1])  # type: ignore[index]
        for pattern in (
            r"plain engine +(\d+) tokens/s",
            r"the run +(\d+) tokens/s",
            r"generates, ([\d.]+) of the plain",
        )
    )
    assert plain > 0 and ratio == pytest.approx(ours / plain, abs=0.02)
    busy = float(re.search(r"processor busy +(\d+)%", told)[1])  # type: ignore[index]
    assert 0 < busy <= 100


def test_a_method_that_does_not_sample_as_it_trains_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--engine", "hf", "--method", "sft"])
    assert "'sft' does not sample groups as it trains: take grpo" in capsys.readouterr().err


def test_a_gpu_is_watched_while_something_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(_SMI)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    begun = time.time()
    with watched() as seen:
        time.sleep(0.6)
    assert [one[1:] for one in seen] == [(10.0, 1234.0), (20.0, 1234.0), (30.0, 1234.0)]
    assert all(begun <= one[0] <= time.time() for one in seen) and time.time() - begun < 10
    assert (tmp_path / "nvidia-smi.said").read_text().startswith("-i 3 --query-gpu=utilization.gpu,memory.used")


def test_without_a_gpu_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with watched() as seen:
        assert seen == []
