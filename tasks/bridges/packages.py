"""Whether a package that a bridge leads to is installed, in the version that the bridge was written for.

What another package asks and how it grades changes between its versions without our task's version changing, so a run's
identity would no longer say what was run. Therefore exactly one version of each is accepted.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from harness.errors import UserError

VERSIONS = {"lm-eval": "0.4.13", "reasoning-gym": "0.1.25"}


def require(package: str) -> None:
    """Return if `package` is there in the version of `VERSIONS`; UserError with the command to type otherwise."""
    wanted = VERSIONS[package]
    try:
        found = version(package)
    except PackageNotFoundError:
        raise UserError(f"The package {package} is not installed: pip install {package}=={wanted}") from None
    if found != wanted:
        raise UserError(
            f"The tasks of {package} are those of {wanted}, {found} is installed: pip install {package}=={wanted}"
        )
