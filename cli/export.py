"""`beyondrl export RUN`: the model of a finished run as a transformers, PEFT or plain LoRA directory."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.options import RUNS, Runs
from cli.output import console
from harness.errors import UserError, unknown


class Format(StrEnum):
    """What can be written."""

    hf = "hf"
    peft = "peft"
    lora = "lora"


def export(
    run: Annotated[str, typer.Argument(help="Identity of a run (or its first digits), or its directory.")],
    to: Annotated[
        Format,
        typer.Option(
            "--to", help="hf: a whole model. peft: the adapter alone. lora: an adapter that is exactly a LoRA, as one."
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="New directory; default: RUN-hf or RUN-peft here.")] = None,
    rank: Annotated[
        int | None, typer.Option("--rank", min=1, help="peft of a whole model: its update as an adapter of this rank.")
    ] = None,
    runs: Runs = RUNS,
) -> None:
    """Write the trained model of a run to a directory of its own."""
    directory = find_run(run, runs)
    from cli.places import require_writable
    from harness.export import export as write

    target = out if out is not None else Path(f"{directory.name}-{to.value}")
    require_writable(target.absolute().parent, "--out")
    if rank is not None:
        if to is not Format.peft:
            raise UserError("--rank makes an adapter: use it with --to peft.")
        from harness.low_rank_export import export_low_rank

        error = export_low_rank(directory, rank, target)
        text = f"Exported {directory.name} to {target}: relative error of the update {error:.3f} at rank {rank}."
    else:
        write(directory, to.value, target)
        text = f"Exported {directory.name} to {target}."
    console().print(text, highlight=False, soft_wrap=True)


def find_run(run: str, runs: Path) -> Path:
    """The directory of a run named by its identity, its first digits or its path; UserError if there is none."""
    if (Path(run) / "spec.json").exists():
        return Path(run)
    known = {path.parent.name: path.parent for path in sorted(runs.glob("*/*/*/spec.json"))}
    found = [path for name, path in known.items() if name.startswith(run)]
    if len(found) == 1:
        return found[0]
    if len(found) > 1:
        raise UserError(f"{len(found)} runs in {runs} begin with {run!r}; give more digits.")
    raise unknown(f"run in {runs}", run, list(known)[:5], "beyondrl query 'select run_id from runs'")
