"""Apply an untrusted Python program to grids, in a locked process (`locked`) that ends with it.

Linux on x86-64 or ARM alone: there the kernel takes a filter of system calls. Elsewhere programs are not run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from harness.errors import UserError
from tasks.arc.grid import Grid, as_grid, problem_of

_LOCKED = Path(__file__).with_name("locked.py")
_MEMORY_BYTES = 1 << 30
_OUTPUT_BYTES = 1 << 18
_STARTING_SECONDS = 3.0
"""For the interpreter to start and numpy to load, on a busy machine, before the program's own time begins."""
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Outcome(NamedTuple):
    """The grid that a program made, or None and why: timeout, died, bad_output, bad_grid, or raised: NAME."""

    grid: Grid | None
    reason: str


def require_lockable() -> None:
    """UserError where programs cannot be locked in."""
    outcome = run_program("def transform(grid):\n    return grid", [((1,),)], 2)[0]
    if outcome.grid is None:
        raise UserError("Programs can be run on Linux alone, where the kernel filters system calls: choose style=chat.")


def run_program(program: str, grids: Sequence[Grid], seconds: int) -> list[Outcome]:
    """What the program's `transform` makes of each grid, within `seconds` of processor time for all of them."""
    numpy = [sysconfig.get_path("purelib")] if "numpy" in program and find_spec("numpy") else []
    job = {"program": program, "grids": grids, "seconds": seconds, "path": numpy}
    limits = {"bytes": _MEMORY_BYTES, "output": _OUTPUT_BYTES}
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.run(
                [sys.executable, "-s", "-S", "-P", "-B", str(_LOCKED)],
                input=json.dumps({**job, **limits}).encode(),
                stdout=output,
                stderr=subprocess.DEVNULL,
                timeout=seconds + _STARTING_SECONDS,
                env=_ENVIRONMENT,
                cwd="/",
                check=False,
            )
        except subprocess.TimeoutExpired:
            return [Outcome(None, "timeout")] * len(grids)
        output.seek(0)
        written = output.read(_OUTPUT_BYTES)
    if process.returncode:
        return [Outcome(None, "timeout" if process.returncode == -9 else "died")] * len(grids)
    try:
        found = json.loads(written)
        return [_outcome(one) for one in found] if len(found) == len(grids) else _bad(len(grids))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return _bad(len(grids))


def _bad(count: int) -> list[Outcome]:
    return [Outcome(None, "bad_output")] * count


def _outcome(one: dict[str, object]) -> Outcome:
    if "failed" in one:
        return Outcome(None, f"raised: {str(one['failed'])[:40]}")
    value = one.get("grid")
    if problem_of(value) is not None:
        return Outcome(None, "bad_grid")
    assert isinstance(value, list)
    return Outcome(as_grid(value), "ok")
