"""Ctrl-C, with the one line that says how to go on."""

from __future__ import annotations


class Interrupted(Exception):
    """Raised by a command that was stopped by Ctrl-C; its text is the way to go on. The exit code is 130."""
