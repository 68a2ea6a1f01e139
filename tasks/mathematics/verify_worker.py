"""The process in which math-verify reads model output: one JSON object a line in, one out, nothing else allowed.

Only the LaTeX reader of math-verify is used: its reader of plain expressions calls sympy's `parse_expr`, which executes
text. The process may write no file, start no process and use no more memory than its limit; whoever started it kills it
when an answer takes too long. (It may read files: sympy imports parts of itself only when an expression needs them.)
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

_MEMORY = 2 * 1024**3


def main() -> None:
    """Answer requests `{"gold": ..., "answer": ...}` with `{"same": true}`, `{"same": false}` or `{"error": ...}`."""
    from math_verify import LatexExtractionConfig, parse, verify

    reader = [LatexExtractionConfig()]

    def read(text: str) -> Any:
        return parse(f"$${text}$$", extraction_config=reader, fallback_mode="no_fallback", parsing_timeout=None)

    verify(read("1"), read("1"), timeout_seconds=None)  # loads the grammar
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    for limit in (resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (0, 0))
    _say({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            gold, answer = read(request["gold"]), read(request["answer"])
            if not gold:
                _say({"error": "gold"})
            else:
                _say({"same": bool(answer) and bool(verify(gold, answer, timeout_seconds=None))})
        except (Exception, RecursionError) as error:  # noqa: BLE001 -- reported to whoever asked, who records it
            _say({"error": f"{type(error).__name__}: {error}"[:200]})


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
