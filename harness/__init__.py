"""Beyond RL's machinery. For everyday use: `from harness import load_task, load_method, load_model`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.models import load_model
    from harness.registry import load_method, load_task, method, task

__all__ = ["load_method", "load_model", "load_task", "method", "task"]
_PLACES = {
    "load_model": "harness.models",
    "load_task": "harness.registry",
    "load_method": "harness.registry",
    "method": "harness.registry",
    "task": "harness.registry",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that importing any part of the harness stays quick."""
    if name not in _PLACES:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)
