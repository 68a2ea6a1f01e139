"""The entry point `beyondrl`: from its first line on Ctrl-C is one sentence and exit code 130, even in the imports."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        from cli.app import dispatch

        return dispatch(arguments)
    except KeyboardInterrupt:
        sys.stderr.write("Stopped; nothing is lost. Go on with the same command.\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
