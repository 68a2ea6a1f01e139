"""Ctrl-C, with the one line that says how to go on."""

from __future__ import annotations

CTRL_C = 130
"""The exit code."""
STOPPED = "Stopped; nothing is lost. Go on with the same command."


class Interrupted(Exception):
    """Raised by a command that was stopped by Ctrl-C; its text is the way to go on. The exit code is 130."""
