"""How the command line starts: at once, and with nothing heavy imported."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "optuna", "duckdb", "pandas", "numpy", "rich", "yaml", "sqlalchemy")


@pytest.mark.parametrize("arguments", [["--help"], ["sweep", "--help"], ["run", "--help"], ["list", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from cli.main import main; code = main(sys.argv[1:]); "
        f"print([name for name in {HEAVY!r} if name in sys.modules]); sys.exit(code)"
    )
    process = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == "[]"
    assert "Usage: " in process.stdout


def test_help_answers_at_once() -> None:
    """In seconds of the processor, which other tests beside this one do not lengthen."""
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "cli.main", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert 0.01 < min(seconds) < 0.5
