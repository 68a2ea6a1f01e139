"""The estimate that is kept when a sweep is started, beside what its runs took."""

from __future__ import annotations

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
from sweeps.estimate.devices import Device
from sweeps.estimate.estimate import device_name, estimate_sweep
from sweeps.estimate.record import check, keep_estimates
from sweeps.file import read_sweep
from sweeps.progress import PlainLines
from sweeps.resolve import Sweep, resolve
from tests.cli.test_plan import SWEEP


def swept(path: Path) -> Sweep:
    (path / "small.yaml").write_text(SWEEP)
    file, document = read_sweep(path / "small.yaml")
    return resolve(file, document, load_model("lab").reference())


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate takes its own process for a bare one, as that of a command is; this one has had other tests in it."""
    said = "from sweeps.estimate.estimate import process_bytes; print(process_bytes())"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True, timeout=120)
    monkeypatch.setattr("sweeps.estimate.estimate.process_bytes", lambda: float(done.stdout))


@pytest.mark.usefixtures("command_line")
def test_what_was_estimated_stands_beside_what_was_taken(tmp_path: Path) -> None:
    sweep, runs = swept(tmp_path), tmp_path / "runs"
    estimates = estimate_sweep(sweep, [], [Device("here", 2.0**40, False)], device_name())
    directory = SweepDirectory.of(runs, sweep.name)
    assert check(sweep, runs) is None
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
    before = (directory.path / "estimate.json").read_bytes()
    keep_estimates(directory, sweep.identity, [])  # a second start of the same sweep says nothing new
    assert (directory.path / "estimate.json").read_bytes() == before
    keep_estimates(directory, "another", [])
    assert check(sweep, runs) is None
