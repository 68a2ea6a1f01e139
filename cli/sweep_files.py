"""Sweep files by path or, for the shipped ones, by name; papers' recipes by their keys."""

from __future__ import annotations

from pathlib import Path

from harness.errors import UserError, unknown


def shipped_sweeps() -> dict[str, Path]:
    """The sweep files that come with the project: `quickstart` and others."""
    import sweeps

    return {path.stem: path for path in sorted(Path(sweeps.__file__).parent.glob("*.yaml"))}


def shipped_recipes() -> dict[str, Path]:
    """The recipes of papers' experiments that come with the project."""
    import sweeps

    return {path.stem: path for path in sorted(Path(sweeps.__file__).parent.glob("papers/*.yaml"))}


def find_sweep_file(given: str) -> Path:
    """The file at a path, or the shipped sweep of that name; UserError with the nearest match otherwise."""
    path = Path(given)
    if path.is_file():
        return path
    if path.is_dir():
        raise UserError(f"{given} is a directory; name a sweep file in it (beyondrl list sweeps).")
    shipped = shipped_sweeps()
    if given in shipped:
        return shipped[given]
    near = [*shipped, *(str(other) for other in sorted(path.parent.glob("*.yaml")))]
    raise unknown("sweep file", given, near, "beyondrl list sweeps")
