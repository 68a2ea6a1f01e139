"""The entry point `beyondrl`: from its first line on Ctrl-C is one sentence and exit code 130, even in the imports."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cli.interrupted import CTRL_C, STOPPED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        from cli.app import dispatch

        return dispatch(arguments)
    except KeyboardInterrupt:
        sys.stderr.write(f"{STOPPED}\n")
        return CTRL_C


if __name__ == "__main__":
    sys.exit(main())
