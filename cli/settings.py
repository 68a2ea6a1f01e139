"""`-p key=value` settings, read as sweep files are: `1e-3` is a number, `true` a boolean, `[1, 2]` a list."""

from __future__ import annotations

from typing import Any

from harness.errors import UserError


def settings(given: list[str], option: str, example: str = "rank=8") -> dict[str, Any]:
    """The settings of one option; UserError for one that is no key=value or comes twice."""
    from harness.document import scalar

    found: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UserError(f"{option} {text!r} is no setting: write key=value, for example {option} {example}.")
        if key in found:
            raise UserError(f"{option} {key} is given twice; keep one.")
        found[key] = scalar(value.strip())
    return found
