"""What a run on the command line gets of this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

from cli.main import main
from harness.record import all_runs

RUN = ("run", "--method", "base", "--task", "countdown", "-t", "level=L0", "--items", "8", "--curve-points", "0")


def test_a_run_is_done_by_as_many_processes_as_it_is_given_and_is_the_same_run(tmp_path: Path) -> None:
    several = min(2, len(os.sched_getaffinity(0)))
    found_by = set()
    for name, asked in (("one", 1), ("several", several)):
        given = ("--resources", "threads=1", "--resources", f"processes={asked}", "--runs", str(tmp_path / name))
        assert main([*RUN, *given]) == 0
        (run,) = all_runs(tmp_path / name)
        found = json.loads(run.environment.read_text())
        assert (found["threads"], found["processes"]) == (1, asked)
        found_by.add((run.path.name, run.read_result().score.accuracy))
    assert len(found_by) == 1
