"""`beyondrl replay RUN`: the weights of any iteration of a search, rebuilt from its start and its log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.export import find_run
from cli.options import RUNS, Runs
from cli.output import console


def replay(
    run: Annotated[str, typer.Argument(help="Identity of a run (or its first digits), or its directory.")],
    to: Annotated[int | None, typer.Option("--to", min=0, help="Iterations to apply; default: all recorded.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="New directory; default: RUN-at-ITERATION here.")] = None,
    runs: Runs = RUNS,
) -> None:
    """Rebuild the model after any iteration of es, eggroll, lora-es and their kin, and check every step."""
    directory = find_run(run, runs)
    from cli.places import require_writable
    from harness.replay import replay as rebuild

    target = out if out is not None else Path(f"{directory.name}-at-{'last' if to is None else to}")
    require_writable(target.absolute().parent, "--out")
    done = rebuild(directory, target, to)
    torn = " The log ends in the middle of a line, which was left out." if done.torn else ""
    text = f"Rebuilt {directory.name} after {done.iterations} iterations in {target}: every fingerprint is the run's."
    console().print(text + torn, highlight=False, soft_wrap=True)
