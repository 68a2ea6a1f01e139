"""Mistakes a user can mend: one sentence that says what was asked, what there is and what to type next.

`UserError` reaches the terminal as that sentence with exit code 2 and no traceback; anything else is a defect.
`unknown` words the commonest of them. `failure_class` sorts what killed a run.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class UserError(Exception):
    """One clear sentence for the person at the keyboard."""


class Damaged(UserError):
    """A file that was written whole can no longer be read: a full disk, a copy that was cut off."""

    def __init__(self, path: Path, why: str, whole: Path | None = None) -> None:
        """`whole` is the directory that is made again as one; the file's own if not given."""
        super().__init__(
            f"{path} is damaged ({why}): restore it, or delete {whole or path.parent}, and give the command again that "
            "made it."
        )


class BudgetSpent(Exception):
    """Raised inside a stage by the harness when the budget is used up; never an error for the user."""


class OutOfMemory(MemoryError):
    """What cannot be split any further does not fit; its text is the sentence for the user."""


class Pruned(Exception):
    """Raised inside a stage when the sweep has pruned this run."""


def unknown(kind: str, name: object, known: Iterable[str], listing: str | None = None) -> UserError:
    """The error for a name nobody has: nearest match first, then where to look."""
    names = sorted(known)
    folded = {one.casefold(): one for one in names}
    near = [folded[one] for one in get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.5)]
    if near:
        hint = f" Did you mean {near[0]!r}?"
    elif names:
        hint = f" There is: {', '.join(names)}."
    else:
        hint = " There is none."
    where = f" ({listing})" if listing else ""
    return UserError(f"No {kind} is called {name!r}.{hint}{where}")


def failure_class(error: BaseException) -> str:
    """One of oom, nan, disk, killed, user, bug: what a failed run's `error.json` says."""
    if is_out_of_memory(error):
        return "oom"
    if isinstance(error, FloatingPointError):
        return "nan"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return "disk"
    if os.strerror(errno.ENOSPC) in str(error):  # libraries in other languages wrap it in an error of their own
        return "disk"
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return "killed"
    if isinstance(error, UserError):
        return "user"
    return "bug"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the host had no memory left; torch's allocator for the CPU says so in a RuntimeError."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: " in str(error)
