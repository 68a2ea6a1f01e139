"""Whether two mathematical answers are the same, asked of math-verify in a process with a hard time limit.

The clock starts when the process begins on the question, not while it waits. A process that takes longer is killed and
the next question gets a new one; so is one that dies. A process belongs to the process that started it: after a fork
the child starts its own. math-verify's `verify(gold, answer)` is not symmetric; the gold answer is always the first.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
from importlib.util import find_spec
from typing import Literal, NamedTuple

from harness.errors import UserError

_START_SECONDS = 120.0
Reason = Literal["same", "different", "too_large", "timeout", "verifier_failed", "unreadable_gold"]


class Verdict(NamedTuple):
    """Whether the answers are the same, and why not if they are not known to be."""

    same: bool
    reason: Reason


class Verifier:
    """One worker process, started on the first question."""

    def __init__(self, seconds: float = 5.0) -> None:
        """`seconds` is what one question may take."""
        self.seconds = seconds
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0

    def same(self, gold: str, answer: str) -> Verdict:
        """Ask; never raises for what an answer contains. UserError where math-verify is not installed."""
        process = self._running()
        question = json.dumps({"gold": gold, "answer": answer}) + "\n"
        try:
            process.stdin.write(question)  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            line = self._line(self.seconds)
        except TimeoutError:
            self.close()
            return Verdict(False, "timeout")
        except (BrokenPipeError, EOFError):
            self.close()
            return Verdict(False, "verifier_failed")
        found = json.loads(line)
        if "error" in found:
            return Verdict(False, "unreadable_gold" if found["error"] == "gold" else "verifier_failed")
        return Verdict(found["same"], "same" if found["same"] else "different")

    def close(self) -> None:
        """Kill the worker if this process has one."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.communicate()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is None:
            return self._process
        self.close()
        if find_spec("math_verify") is None:
            raise UserError("Grading mathematics needs the package math-verify: pip install 'beyondrl[tasks]'.")
        command = [sys.executable, "-m", "tasks.mathematics.verify_worker"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, close_fds=True
        )
        self._owner = os.getpid()
        try:
            self._line(_START_SECONDS)
        except (TimeoutError, EOFError):
            self.close()
            raise UserError(
                "The math-verify process did not start; try: python -c 'from math_verify import parse; parse(\"$1$\")'."
            ) from None
        return self._process

    def _line(self, seconds: float) -> str:
        """The worker's next line; TimeoutError or EOFError."""
        output = self._process.stdout  # type: ignore[union-attr]
        if not select.select([output], [], [], seconds)[0]:
            raise TimeoutError
        line = output.readline()  # type: ignore[union-attr]
        if not line.endswith("\n"):
            raise EOFError
        return line


VERIFIER = Verifier()
"""The one that tasks share."""
atexit.register(VERIFIER.close)
