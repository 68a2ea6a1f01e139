"""The estimate that is kept when a sweep is started, beside what its runs took."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from harness.contracts import Resources
from harness.executors.local import LocalExecutor
from harness.models import load_model
from sweeps.controller import Controller
from sweeps.directory import SweepDirectory
from sweeps.estimate.devices import Device, device_name
from sweeps.estimate.estimate import estimate_sweep
from sweeps.estimate.history import read_history
from sweeps.estimate.record import check, keep_estimates
from sweeps.estimate.table import estimate_table
from sweeps.file import read_sweep
from sweeps.plan import make_plan
from sweeps.progress import PlainLines
from sweeps.resolve import Sweep, resolve
from tests.cli.test_plan import SWEEP


def swept(path: Path, text: str = SWEEP) -> Sweep:
    (path / "small.yaml").write_text(text)
    file, document = read_sweep(path / "small.yaml")
    return resolve(file, document, load_model("lab").reference())


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate takes its own process for a bare one, as that of a command is; this one has had other tests in it."""
    said = "from sweeps.estimate.devices import process_bytes; print(process_bytes())"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True, timeout=120)
    monkeypatch.setattr("sweeps.estimate.estimate.process_bytes", lambda: float(done.stdout))


def left_to_do(sweep: Sweep, runs: Path) -> str:
    """What the plan says of all runs to do, for two slots and a gigabyte of room."""
    estimates = estimate_sweep(sweep, read_history(runs), [Device("here", 2.0**40, False)], device_name())
    lines = [str(part) for part in estimate_table(make_plan(sweep, runs), estimates, sweep.file.price, 2, 10**9)]
    return next(line for line in lines if line.startswith(("all runs to do", "nothing left")))


@pytest.mark.usefixtures("command_line")
def test_what_was_estimated_stands_beside_what_was_taken(tmp_path: Path) -> None:
    sweep, runs = swept(tmp_path), tmp_path / "runs"
    estimates = estimate_sweep(sweep, [], [Device("here", 2.0**40, False)], device_name())
    directory = SweepDirectory.of(runs, sweep.name)
    assert check(sweep, runs) is None
    assert left_to_do(sweep, runs).startswith("all runs to do: no time, since there is no history for base, sft; ")
    controller = Controller(sweep, runs, LocalExecutor(1), Resources(), [])
    with (tmp_path / "log").open("w") as log:
        outcome = controller.run(
            PlainLines(Console(file=log)), lambda: keep_estimates(directory, sweep.identity, estimates)
        )
    assert not outcome.failures
    found = check(sweep, runs)
    assert found is not None
    by_figure = {one.figure: one for one in found if one.method == "sft"}
    assert by_figure["flops"].estimated == pytest.approx(by_figure["flops"].taken, rel=0.2)
    assert by_figure["trained_tokens"].estimated == pytest.approx(by_figure["trained_tokens"].taken, rel=0.2)
    assert by_figure["memory"].estimated == pytest.approx(by_figure["memory"].taken, rel=0.5)
    assert by_figure["seconds"].estimated is None and by_figure["seconds"].taken > 0
    assert left_to_do(sweep, runs) == "nothing left to run"
    said = left_to_do(swept(tmp_path, SWEEP.replace("seeds: 1", "seeds: 2")), runs)
    assert re.fullmatch(
        r"all runs to do: 0:0\d of device time, \d\.\d\d EUR, 0:0\d on 2 slots; .* \(1\.0 GB free\)", said
    )
    before = (directory.path / "estimate.json").read_bytes()
    keep_estimates(directory, sweep.identity, [])  # a second start of the same sweep says nothing new
    assert (directory.path / "estimate.json").read_bytes() == before
    keep_estimates(directory, "another", [])
    assert check(sweep, runs) is None
